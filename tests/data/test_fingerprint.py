"""Claims about the fingerprint of data: the same for the same annotations, another for any others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glipv2.data import fingerprint as module
from glipv2.data.fingerprint import fingerprint
from glipv2.data.sources import CocoData, ShapesData

BOXES = frozenset({"boxes"})
SCENES = ShapesData(image_size=64, train_scenes=20, eval_scenes=5)


def of_scenes(config: ShapesData) -> dict[str, Any]:
    return fingerprint(config, {"train": {"detection": config.dataset("train", BOXES)}})


def test_the_same_scenes_have_one_fingerprint_and_another_seed_or_number_another() -> None:
    first = of_scenes(SCENES)
    assert first == of_scenes(replace(SCENES, batch_size=3))
    assert first["sets"]["train"]["images"] == 20
    assert first["digest"] != of_scenes(replace(SCENES, seed=1))["digest"]
    assert first["digest"] != of_scenes(replace(SCENES, train_scenes=21))["digest"]


def coco(folder: Path, box: list[int]) -> CocoData:
    config = CocoData()
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 100, "iscrowd": 0}
    (folder / "train.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.jpg", "width": 50, "height": 40}],
        "annotations": [annotation], "categories": [{"id": 1, "name": "cup"}],
    }))  # fmt: skip
    Image.new("RGB", (50, 40)).save(folder / "a.jpg")
    config.train.annotations, config.train.images = str(folder / "train.json"), str(folder)
    return config


def test_one_moved_box_is_another_fingerprint_of_file_and_set(tmp_path: Path) -> None:
    found = []
    for box in ([1, 2, 10, 10], [1, 2, 10, 11]):
        config = coco(tmp_path, box)
        found.append(fingerprint(config, {"train": {"detection": config.dataset("train", BOXES)}}))
    first, second = found
    assert list(first["files"]) == ["data.train.annotations"]
    assert first["files"] != second["files"]
    assert first["sets"]["train"]["hash"] != second["sets"]["train"]["hash"]
    assert first["sets"]["train"]["images"] == second["sets"]["train"]["images"] == 1


def test_of_a_large_file_blocks_are_read_and_its_ends_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE", 100)
    monkeypatch.setattr(module, "BLOCK", 10)
    monkeypatch.setattr(module, "BLOCKS", 4)
    content = bytearray(1000)
    (tmp_path / "a").write_bytes(content)
    before = module._of_file(tmp_path / "a")
    content[-1] = 1
    (tmp_path / "a").write_bytes(content)
    assert before["bytes"] == 1000
    assert module._of_file(tmp_path / "a") != before


def test_tasks_with_sets_of_their_own_are_told_apart() -> None:
    boxes, texts = SCENES.dataset("val", BOXES), SCENES.dataset("val", frozenset({"captions"}))
    found = fingerprint(SCENES, {"val": {"detection": boxes, "segmentation": boxes, "captioning": texts}})
    assert list(found["sets"]) == ["val/detection", "val/captioning"]
