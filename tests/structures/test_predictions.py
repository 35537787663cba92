"""Claims about what a user gets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from glipv2.errors import UserError
from glipv2.structures import Detections, Vocabulary
from glipv2.structures.drawing import label_color

FOUND = Detections(
    boxes=torch.tensor([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 5.0, 5.0]]),
    scores=torch.tensor([0.75, 0.25]),
    labels=torch.tensor([1, 0]),
    image_size=(100, 200),
    vocabulary=Vocabulary(("cat", "dog"), (3, 2**40)),
)


def test_labels_are_told_by_name_and_by_the_data_sets_own_id() -> None:
    assert FOUND.names == ("dog", "cat")
    assert FOUND.category_ids == (2**40, 3)
    assert len(FOUND) == 2


def test_coco_records_are_plain_values_with_xywh_boxes() -> None:
    records = FOUND.to_coco(42)
    assert records[0] == {
        "image_id": 42,
        "category_id": 2**40,
        "category_name": "dog",
        "bbox": [10, 20, 20, 40],
        "score": 0.75,
    }
    assert json.loads(json.dumps(records)) == records
    assert FOUND.above(2.0).to_coco("a") == []


def test_a_score_at_the_threshold_stays() -> None:
    assert FOUND.above(0.75).names == ("dog",)
    assert FOUND.above(0.7500001).names == ()
    assert FOUND.above(0.0).names == ("dog", "cat")


def test_the_dictionary_form_is_json() -> None:
    assert json.loads(json.dumps(FOUND.to_dict())) == {
        "image_size": [100, 200],
        "boxes": [[10, 20, 30, 60], [0, 0, 5, 5]],
        "scores": [0.75, 0.25],
        "names": ["dog", "cat"],
        "category_ids": [2**40, 3],
    }


def test_supervision_takes_boxes_scores_and_names_over() -> None:
    supervision = pytest.importorskip("supervision")
    given = FOUND.to_supervision()
    assert isinstance(given, supervision.Detections)
    assert given.xyxy.tolist() == [[10, 20, 30, 60], [0, 0, 5, 5]]
    assert given.confidence.tolist() == [0.75, 0.25]
    assert given.class_id.tolist() == [1, 0]
    assert list(given[given.confidence > 0.5].data["class_name"]) == ["dog"]
    assert len(FOUND.above(2.0).to_supervision()) == 0


def test_without_supervision_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match=r'^supervision is not installed; pip install "glipv2\[supervision\]"$'):
        FOUND.to_supervision()


def test_moving_keeps_vocabulary_and_size() -> None:
    moved = FOUND.to("meta")
    assert moved.boxes.device.type == "meta"
    assert (moved.vocabulary, moved.image_size) == (FOUND.vocabulary, FOUND.image_size)


def test_drawing_outlines_boxes_above_the_threshold_on_a_copy() -> None:
    canvas = Image.new("RGB", (200, 100), "white")
    picture = FOUND.draw(canvas, threshold=0.5)
    assert canvas.getcolors() == [(20_000, (255, 255, 255))]  # untouched
    assert picture.getpixel((20, 60)) == label_color(1)  # the lower edge of the dog
    assert picture.getpixel((5, 5)) == (255, 255, 255)  # the cat is below the threshold


def test_drawing_takes_what_detect_takes_a_file_upright(tmp_path: Path) -> None:
    canvas = Image.new("RGB", (200, 100), "white")
    drawn = FOUND.draw(canvas)
    exif = Image.Exif()
    exif[0x0112] = 6  # the file lies on its side
    canvas.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photo.png", exif=exif)
    for same in (
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        torch.full((3, 100, 200), 255, dtype=torch.uint8),
    ):
        assert FOUND.draw(same).tobytes() == drawn.tobytes()


def test_drawing_survives_boxes_of_no_area_and_outside_the_picture() -> None:
    boxes = torch.tensor([[30.0, 30.0, 30.0, 30.0], [50.0, 40.0, 45.0, 35.0], [-20.0, -20.0, 500.0, 500.0]])
    odd = Detections(boxes, torch.ones(3), torch.tensor([0, 1, 1]), (100, 200), FOUND.vocabulary)
    picture = odd.draw(Image.new("RGB", (200, 100), "white"))
    assert picture.size == (200, 100)
    assert picture.getpixel((30, 30)) == label_color(0)


def test_neighbouring_labels_have_colours_apart() -> None:
    colors = [label_color(label) for label in range(8)]
    distances = [sum(abs(a - b) for a, b in zip(colors[i], colors[j], strict=True)) for i in range(8) for j in range(i)]
    assert min(distances) > 60
