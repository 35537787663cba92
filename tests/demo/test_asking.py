"""Claims about what the page shows, without a browser."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from glipv2.demo.asking import MOST_BYTES, QUESTIONS, ask, colored, examples, tasks_of
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.structures.drawing import label_color
from glipv2.structures.grounded import GroundedText
from glipv2.tasks.detection import DetectionTask


def test_a_joint_model_does_all_five_tasks_and_a_detector_what_it_has_heads_for(
    model: Predictor, task: DetectionTask
) -> None:
    assert tasks_of(model) == list(QUESTIONS)
    assert tasks_of(Predictor(task, "cpu")) == ["detection", "phrase_grounding"]


@pytest.mark.parametrize("task", QUESTIONS)
def test_every_task_shows_a_picture_a_text_and_a_document(model: Predictor, png: bytes, task: str) -> None:
    shown = ask(model, png, task, QUESTIONS[task].example)
    assert shown.drawn(0.0).width == 96
    assert json.loads(shown.document(0.0))["task"] == task
    assert "<" in shown.markup(0.0)
    assert "Nothing is that sure" in shown.markup(1.0) or task == "captioning"


def test_phrases_have_the_colours_of_their_boxes_and_texts_are_no_markup() -> None:
    nothing = GroundedText(
        "<i>a dog</i> & a mat", (((3, 8),), ((15, 20),)), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long()
    )
    told = colored(nothing)
    for place in (0, 1):
        assert "rgb({},{},{})".format(*label_color(place)) in told
    assert told.startswith("&lt;i&gt;<mark") and ">a dog</mark>&lt;/i&gt; &amp; <mark" in told


def bomb() -> bytes:
    """A picture whose header claims a billion pixels."""
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<script>alert(1)</script>", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "image picture|not an image"),
        (bytes(MOST_BYTES + 1), "the limit is 10 MB"),
        (bomb(), "claims 900000000 pixels, but the limit is 25000000"),
    ],
)
def test_hostile_files_get_a_message(model: Predictor, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ask(model, content, "detection", "a dog.")


def test_texts_that_are_too_long_or_ask_nothing_get_a_message(model: Predictor, png: bytes) -> None:
    with pytest.raises(UserError, match="the limit is 2000"):
        ask(model, png, "vqa", "why " * 1000)
    with pytest.raises(UserError):
        ask(model, png, "phrase_grounding", "")


def test_example_pictures_come_with_the_names_in_them(tmp_path: Path) -> None:
    made = examples(tmp_path)
    assert [path.name for path, _ in made] == ["stop_sign.jpg", "scene_4.png", "scene_20.png", "scene_31.png"]
    assert made[1][1] == "orange square. red star. pink triangle. green star. blue star."
    assert all(Image.open(path).width > 200 for path, _ in made)
