"""Claims about what is found in data before it is trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from formats import write_yolo
from PIL import Image

from glipv2.data.holdout import HoldoutPart
from glipv2.data.sources import AutoData
from glipv2.errors import UserError
from glipv2.finetuning.facts import DataFacts, read_facts, whole_data
from glipv2.tokenizer import TokenizerConfig

TRIANGLE, RECTANGLE = [[2, 2, 12, 2, 2, 12]], [[2, 2, 12, 2, 12, 12, 2, 12]]


def write(folder: Path, count: int = 10, name: str = "labels.json", segmentation: Any = None) -> Path:
    """A COCO file about `count` pictures with a dog each."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        Image.new("RGB", (40, 20), (number, 0, 0)).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 40, "height": 20})
        box = {"id": number, "image_id": number, "category_id": 18, "bbox": [2, 2, 10, 10]}
        annotations.append(box | ({"segmentation": segmentation} if segmentation else {}))
    content = {"images": images, "annotations": annotations, "categories": [{"id": 18, "name": "dog"}]}
    (folder / name).write_text(json.dumps(content))
    return folder / name


def read(path: Path, **given: str) -> DataFacts:
    return read_facts(whole_data(str(path), given), TokenizerConfig().build(), lambda what, done, every: None)


def test_one_file_is_divided_and_its_truth_scores_one(tmp_path: Path) -> None:
    found = read(write(tmp_path))
    assert found.data.holdout == 0.2
    assert (found.train_images, found.val_images, found.names) == (8, 2, ("dog",))
    assert found.truth_ap == pytest.approx(1.0)
    assert found.masks.count == 0


def test_a_folder_with_one_file_is_that_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert whole_data(str(tmp_path), {}).path == str(path)


def test_splits_that_are_there_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path, 4, "train.json")
    write(tmp_path, 3, "val.json")
    data = whole_data(str(path), {})
    assert data.holdout == 0
    assert [len(data.dataset(split)) for split in ("train", "val")] == [4, 3]
    assert whole_data(str(write_yolo(tmp_path / "yolo")), {}).holdout == 0


def test_masks_are_counted_and_rectangles_are_told_from_masks(tmp_path: Path) -> None:
    masked = read(write(tmp_path / "a", segmentation=TRIANGLE)).masks
    assert (masked.count, masked.are_rectangles) == (10, False)
    assert read(write(tmp_path / "b", segmentation=RECTANGLE)).masks.are_rectangles


def test_held_out_images_are_the_same_in_any_order_and_never_trained_on(tmp_path: Path) -> None:
    path = write(tmp_path)
    data = AutoData(path=str(path), holdout=0.3)
    train, val = ({data.dataset(s).truth(i).name for i in range(len(data.dataset(s)))} for s in ("train", "val"))
    assert (len(train), len(val), train & val) == (7, 3, set())
    content = json.loads(path.read_text())
    content["images"].reverse()
    path.write_text(json.dumps(content))
    again = data.dataset("val")
    assert {again.truth(index).name for index in range(3)} == val
    assert again[0].name in val


def test_too_few_images_to_divide_are_refused(tmp_path: Path) -> None:
    data = AutoData(path=str(write(tmp_path, 1)), holdout=0.2)
    with pytest.raises(UserError, match="two images or more"):
        data.dataset("val")
    samples = AutoData(path=str(write(tmp_path, 4))).dataset("train")
    with pytest.raises(UserError, match="between 0 and 1"):
        HoldoutPart(samples, 1.5, held_out=True)


def test_the_recipe_is_chosen_for_the_few_images_that_shots_leave(tmp_path: Path) -> None:
    path = write(tmp_path, 20)
    all_of_them, few = read(path), read(path, **{"data.shots": "2", "data.shots_seed": "1"})
    assert all_of_them.train_images == 16
    assert few.train_images == len(few.data.dataset("train")) < 5
    assert few.val_images == all_of_them.val_images == 4


@pytest.mark.parametrize(("key", "word"), [("data.shots", "two"), ("data.shots", "-1"), ("data.holdout", "some")])
def test_numbers_that_are_none_are_refused_by_their_keys(tmp_path: Path, key: str, word: str) -> None:
    with pytest.raises(UserError, match=f"{key}={word}: expected a"):
        whole_data(str(write(tmp_path)), {key: word})
