"""Claims about training on a few images of every name."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from glipv2.data.datamodule import DataModule, Feed
from glipv2.data.sources import AutoData, CocoData
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig

BOXES = frozenset({"boxes"})
NAMES = ("cat", "dog", "owl")
IN_IMAGE = ([0], [0, 0], [1], [0, 1], [1, 1, 1], [], [2], [0], [1], [0])  # labels of the boxes of each image


@pytest.fixture
def data(tmp_path: Path) -> CocoData:
    """Ten images: of cats and dogs there are enough, of owls one and a crowd."""
    images = [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 20} for n in range(len(IN_IMAGE))]
    boxes = [(n, label, 0) for n, labels in enumerate(IN_IMAGE) for label in labels] + [(5, 2, 1)]
    annotations = [
        {"id": place, "image_id": n, "category_id": label + 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": crowd,
         **({"segmentation": {"size": [20, 20], "counts": [0, 400]}} if crowd else {})}
        for place, (n, label, crowd) in enumerate(boxes, 1)
    ]  # fmt: skip
    names = [{"id": place, "name": name} for place, name in enumerate(NAMES, 1)]
    for image in images:
        Image.new("RGB", (20, 20)).save(tmp_path / image["file_name"])
    path = tmp_path / "instances_train.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": names}))
    found = CocoData()
    for split in (found.train, found.val):
        split.annotations, split.images = str(path), str(tmp_path)
    return found


def kept(data: CocoData | AutoData, split: str = "train") -> list[str]:
    samples = data.dataset(split, BOXES)
    names = [samples.truth(row).name for row in range(len(samples))]
    assert [samples[row].name for row in range(len(samples))] == names
    return names


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shots", [1, 2, 3])
def test_every_name_has_its_boxes_and_no_image_is_there_for_nothing(data: CocoData, shots: int, seed: int) -> None:
    data.shots, data.shots_seed = shots, seed
    images = [int(Path(name).stem) for name in kept(data)]
    boxes = Counter(label for n in images for label in IN_IMAGE[n])
    there = Counter(label for labels in IN_IMAGE for label in labels)
    assert all(boxes[label] >= min(shots, there[label]) for label in range(len(NAMES)))
    assert 5 not in images  # no box but a crowd's
    assert len(images) < 8
    assert images == sorted(images)


def test_the_seed_alone_decides_and_seeds_differ(data: CocoData) -> None:
    data.shots = 1
    drawn = []
    for data.shots_seed in range(8):
        drawn.append(tuple(kept(data)))
        assert tuple(kept(data)) == drawn[-1]
    assert len(set(drawn)) > 1


def test_only_training_is_cut_and_names_that_have_fewer_are_told(
    data: CocoData, caplog: pytest.LogCaptureFixture
) -> None:
    data.shots = 2
    assert len(kept(data, "val")) == len(IN_IMAGE)
    with caplog.at_level(logging.INFO):
        images = kept(data)
    assert f"trains on {len(images)} of 10 images; 1 names have fewer: owl" in caplog.text


def test_data_that_is_recognised_is_cut_alike(data: CocoData, tmp_path: Path) -> None:
    data.shots = 1
    assert data.train.annotations
    recognised = AutoData(path=data.train.annotations, images=str(tmp_path), shots=1)
    assert kept(recognised) == kept(data)


@pytest.mark.parametrize("shots", [0, 1])
def test_the_first_images_alone_are_trained_on_and_evaluated_as_training_data(
    data: CocoData, caplog: pytest.LogCaptureFixture, shots: int
) -> None:
    data.shots = shots
    every = kept(data)
    data.first = 2
    with caplog.at_level(logging.INFO):
        assert kept(data) == every[:2]
    assert f"data.first=2: trains on the first of {len(every)} images" in caplog.text
    assert len(kept(data, "val")) == len(IN_IMAGE)
    data.first = 11
    assert kept(data) == every


def test_fewer_images_than_a_batch_are_refused(data: CocoData) -> None:
    data.first, data.batch_size = 2, 4
    feeds = {"detection": Feed(BOXES, lambda samples, training: list)}
    module = DataModule(data, PixelConfig(), feeds, train=True, eval_split="val")
    with pytest.raises(UserError, match=r"batch_size is 4, but training has only 2 images; take a smaller"):
        module.first_batches(1)


@pytest.mark.parametrize("needs", [{"captions"}, {"questions"}, {"boxes", "phrases"}])
def test_tasks_without_names_are_refused(data: CocoData, needs: set[str]) -> None:
    data.shots = 1
    with pytest.raises(UserError, match=r"data\.shots counts boxes of names"):
        data.check_needs(frozenset(needs), ["train"], "task=vqa")
    with pytest.raises(UserError, match=r"set data\."):  # the next thing that is missing
        data.check_needs(frozenset(needs), ["val"], "task=vqa")


def test_images_without_any_box_are_refused(data: CocoData, tmp_path: Path) -> None:
    assert data.train.annotations
    path = Path(data.train.annotations)
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    data.shots = 1
    with pytest.raises(UserError, match="none of 10 has one"):
        data.dataset("train", BOXES)
