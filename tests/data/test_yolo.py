"""Claims about YOLO folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from formats import write_pictures, write_yolo

from glipv2.data.truths import truth_of
from glipv2.data.yolo import YoloDataset
from glipv2.errors import UserError


def test_boxes_and_polygons_are_read_in_pixels(tmp_path: Path) -> None:
    dataset = YoloDataset(write_yolo(tmp_path), "train")
    assert (dataset.vocabulary.names, dataset.vocabulary.category_ids) == (("red cup", "dog"), (0, 1))
    first = dataset[0]
    assert (first.image_id, first.name) == (7, "7.png")
    torch.testing.assert_close(first.instances.boxes, torch.tensor([[2.0, 4, 12, 14], [10, 5, 30, 15]]))
    assert first.instances.labels.tolist() == [1, 0]


def test_an_image_without_a_label_file_has_no_object(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert len(YoloDataset(write_yolo(tmp_path), "val")[1].instances) == 0
    assert "1 of 2 images have no label file" in caplog.text


def test_polygons_are_masks_where_they_are_asked_for(tmp_path: Path) -> None:
    description = write_yolo(tmp_path, "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n")
    truth = YoloDataset(description, "train", with_masks=True).truth(0)
    assert truth.masks is not None
    assert truth.masks.sum() == 20 * 10
    assert truth.masks[0, 5:15, 10:30].all()
    with pytest.raises(UserError, match=r"7\.txt line 1: has no segmentation"):
        YoloDataset(write_yolo(tmp_path), "train", with_masks=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"train": "../train/images", "path": None, "names": {0: "red cup", 1: "dog"}},
        {"train": ["train/images"]},
        {"train": "list.txt"},
        {"path": "..", "train": "inner/train/images"},
        {"path": "/nowhere/at/all", "train": "train/images"},
    ],
)
def test_a_split_is_found_where_the_tools_write_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    root = tmp_path / "inner"
    write_pictures(root / "train" / "images")
    (root / "train" / "labels").mkdir()
    (root / "train" / "labels" / "7.txt").write_text("1 0.175 0.45 0.25 0.5\n")
    (root / "list.txt").write_text("./train/images/7.png\ntrain/images/9.png\n")
    dataset = YoloDataset(write_yolo(root, **changes), "train")
    assert [len(dataset.truth(index).boxes) for index in range(len(dataset))] == [1, 0]
    assert dataset.truth(0).name == "7.png"
    assert truth_of(dataset[0]).boxes.equal(dataset.truth(0).boxes)


def test_labels_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    description = write_yolo(tmp_path / "a")
    (tmp_path / "a" / "labels").rename(tmp_path / "elsewhere")
    with description.open("a") as file:
        file.write("labels: ../elsewhere\n")
    assert len(YoloDataset(description, "train").truth(0).boxes) == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("1 0.5 0.5 0.25\n", "7.txt line 1: has 3 numbers after the class, expected 4 for a box"),
        ("1 0.5 0.5 0.25 0.5 0.9\n", "has 5 numbers after the class (predictions with a score?)"),
        ("1 0.1 0.1 0.2 0.2 0.3 0.3 0.4\n", "has 7 numbers"),
        ("5 0.5 0.5 0.25 0.5\n", "class 5 is not among the names (0 to 1)"),
        ("dog 0.5 0.5 0.25 0.5\n", "expected a class number and numbers"),
        ("1 20 10 10 10\n", "has 20, expected parts of the picture's sides, from 0 to 1 (not pixels)"),
        ("1 nan 0.5 0.1 0.1\n", "expected finite numbers"),
        ("1 0.5 0.5 0 0.5\n", "expected both above 0"),
        ("1 1.5 0.5 0.1 0.5\n", "lies outside the image"),
    ],
)
def test_a_faulty_label_is_told_by_line_and_skipped_once(tmp_path: Path, labels: str, message: str) -> None:
    description = write_yolo(tmp_path, labels)
    with pytest.raises(UserError) as caught:
        YoloDataset(description, "train")
    assert message in str(caught.value)
    assert list(YoloDataset(description, "train", on_error="skip").skipped.values()) == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nc": 3}, "nc is 3, but there are 2 names"),
        ({"names": None}, "expected an entry 'names'"),
        ({"names": "dog", "nc": None}, "expected a list, or names by class number"),
        ({"train": None}, "no split 'train'"),
        ({"train": "images/nowhere"}, "images/nowhere is not in"),
        ({"kpt_shape": [17, 3]}, "key points"),
    ],
)
def test_a_faulty_description_is_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        YoloDataset(write_yolo(tmp_path, **changes), "train")


def test_no_label_at_all_is_a_wrong_path_and_not_a_set_of_negatives(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of 2 images has a label file, first .*labels/train/7\.txt"):
        YoloDataset(write_yolo(tmp_path, None), "train")


def test_a_broken_picture_is_a_fault_when_the_folder_is_opened(tmp_path: Path) -> None:
    description = write_yolo(tmp_path)
    (tmp_path / "images" / "train" / "9.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 fault, first 9\.png: .* is empty"):
        YoloDataset(description, "train")
    assert len(YoloDataset(description, "train", on_error="skip")) == 1
