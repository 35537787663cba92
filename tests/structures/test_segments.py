"""Claims about what a user gets of segmentation."""

from __future__ import annotations

import json

import pytest
import torch
from faster_coco_eval.core import mask as coco_mask
from PIL import Image

from glipv2.structures import Detections, Segments, Vocabulary

BOXES = torch.tensor([[10.0, 20.0, 30.0, 60.0], [50.0, 0.0, 90.0, 40.0]])


def found() -> Segments:
    """A dog that fills the left half of its box, and a cat that fills all of its own."""
    cells = torch.ones(2, 28, 28)
    cells[0, :, 14:] = 0.25
    detections = Detections(
        BOXES, torch.tensor([0.75, 0.5]), torch.tensor([1, 0]), (80, 100), Vocabulary(("cat", "dog"))
    )
    return Segments(detections, cells)


def test_masks_are_of_the_original_image() -> None:
    masks = found().masks()
    assert masks.shape == (2, 80, 100)
    assert [int(mask.sum()) for mask in masks] == [40 * 10, 40 * 40]
    assert [int(mask.sum()) for mask in found().masks(threshold=0.2)] == [40 * 20, 40 * 40]


def test_boxes_scores_and_names_are_those_of_the_detections() -> None:
    segments = found()
    assert segments.names == ("dog", "cat")
    assert segments.scores.tolist() == [0.75, 0.5]
    assert segments.lines() == [("dog", "0.750", "10, 20, 30, 60"), ("cat", "0.500", "50, 0, 90, 40")]
    assert (len(segments), segments.image_size, segments.labels.tolist()) == (2, (80, 100), [1, 0])


def test_a_threshold_drops_masks_with_their_objects() -> None:
    shown = found().above(0.6)
    assert shown.names == ("dog",)
    assert torch.equal(shown.masks(), found().masks()[:1])
    assert found().above(2.0).masks().shape == (0, 80, 100)
    assert found().above(2.0).to_records(1) == []


def test_records_are_plain_values_whose_run_lengths_are_the_masks() -> None:
    records = json.loads(json.dumps(found().to_records(7)))
    assert [(record["image_id"], record["category_name"], record["bbox"]) for record in records] == [
        (7, "dog", [10, 20, 20, 40]),
        (7, "cat", [50, 0, 40, 40]),
    ]
    for record, mask in zip(records, found().masks(), strict=True):
        assert torch.equal(torch.from_numpy(coco_mask.decode(record["segmentation"])).bool(), mask)


def test_the_same_objects_in_a_larger_picture() -> None:
    larger = found().resized((160, 300))
    assert larger.boxes.tolist() == [[30, 40, 90, 120], [150, 0, 270, 80]]
    assert [int(mask.sum()) for mask in larger.masks()] == [80 * 30, 80 * 120]


def test_drawn_masks_let_the_picture_shine_through() -> None:
    canvas = Image.new("RGB", (100, 80), "white")
    picture = found().draw(canvas, threshold=0.6)
    assert canvas.getcolors() == [(8_000, (255, 255, 255))]  # untouched
    inside, outside, hidden = (picture.getpixel(place) for place in ((15, 50), (25, 50), (70, 30)))
    assert outside == hidden == (255, 255, 255)
    assert inside != (255, 255, 255)
    assert min(inside) > 100  # type: ignore[type-var, arg-type]


def test_moving_takes_boxes_and_cells_along() -> None:
    moved = found().to("meta")
    assert moved.boxes.device.type == moved.cells.device.type == "meta"
    assert moved.image_size == (80, 100)


def test_other_forms_carry_the_masks() -> None:
    told = json.loads(json.dumps(found().to_dict()))
    assert told["names"] == ["dog", "cat"]
    assert told["boxes"] == [[10, 20, 30, 60], [50, 0, 90, 40]]
    assert int(coco_mask.decode(told["masks"][1]).sum()) == 40 * 40
    pytest.importorskip("supervision")
    given = found().to_supervision()
    assert given.mask.shape == (2, 80, 100)
    assert given.mask[0].sum() == 40 * 10
    assert list(given.data["class_name"]) == ["dog", "cat"]
    assert len(found().above(2.0).to_supervision()) == 0
