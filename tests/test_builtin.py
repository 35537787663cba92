"""Claims about the weights that come with the package: they answer at once, all five tasks, and are small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torchvision.transforms.v2.functional import to_pil_image

import glipv2
from glipv2.data.shapes import ShapesDataset
from glipv2.data.transforms import truth_of
from glipv2.inference import Predictor
from glipv2.metrics.coco import CocoBoxAP
from glipv2.models.fetch import SHIPPED

SCENES = 24


@pytest.fixture(scope="module")
def model() -> Predictor:
    return glipv2.load(device="cpu")


@pytest.fixture(scope="module")
def scenes() -> ShapesDataset:
    return ShapesDataset("val", SCENES)


def test_they_find_what_is_in_a_scene(model: Predictor, scenes: ShapesDataset) -> None:
    found = model.detect([scenes[index].image for index in range(SCENES)], scenes.vocabulary.names)
    metric = CocoBoxAP(scenes.vocabulary, scenes.scored_names)
    metric.update(found, [truth_of(scenes[index]) for index in range(SCENES)])
    assert metric.compute().flat("detection")["detection/box_ap"] > 0.4


def test_they_answer_better_than_by_the_commonest_answer(model: Predictor, scenes: ShapesDataset) -> None:
    asked = [(index, question) for index in range(SCENES) for question in scenes[index].questions]
    right = [
        model.answer(scenes[index].image, question.text).answers[0].text == question.answers[0]
        for index, question in asked
    ]
    assert sum(right) / len(right) > 0.4


def test_they_do_the_other_tasks(model: Predictor, scenes: ShapesDataset) -> None:
    picture = scenes[0].image
    assert model.segment(picture, ["purple ring"], threshold=0.5).names == ("purple ring",)
    assert len(model.caption(picture).text.split()) > 4
    grounded = model.ground(picture, "a purple ring next to a red ring", threshold=0.2)
    assert grounded.phrases == ("purple ring", "red ring")
    assert set(grounded.labels.tolist()) == {0, 1}


def test_they_are_small_and_come_with_their_numbers() -> None:
    assert SHIPPED.stat().st_size < 10 * 2**20
    numbers = json.loads(SHIPPED.with_name("metrics.json").read_text("utf-8"))
    card = SHIPPED.with_name("README.md").read_text("utf-8")
    assert numbers["detection/box_ap"] > 0.4
    assert "glipv2.load()" in card
    assert f"{100 * numbers['detection/box_ap']:.1f}" in card


@pytest.mark.slow
def test_predict_needs_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenes: ShapesDataset) -> None:
    from glipv2.cli import main

    monkeypatch.chdir(tmp_path)
    to_pil_image(scenes[0].image).save("scene.png")
    main(["predict", "images=scene.png", "text=a purple ring. a red ring.", "device=cpu", "output=found"])
    found = json.loads(Path("found/predictions.json").read_text("utf-8"))["annotations"]
    assert {one["category_name"] for one in found if one["score"] > 0.5} == {"purple ring", "red ring"}
