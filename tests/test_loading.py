"""Claims about the measurement of loading: what is timed, what it is compared with, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glipv2.errors import UserError
from glipv2.loading import ADVICE, AUGMENTING, READING, STAGES, LoadingReport, benchmark

TINY = ["model=nano", "model.pixels.short_side=64", "data.batch_size=2"]


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Words for a data set of four photos."""
    images, annotations = [], []
    for number in range(4):
        Image.new("RGB", (90, 70), (number * 60, 90, 30)).save(tmp_path / f"{number}.jpg")
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 90, "height": 70})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [5, 5, 30, 30], "iscrowd": 0})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}
    (tmp_path / "train.json").write_text(json.dumps(content))
    return ["data=coco", f"data.train.annotations={tmp_path}/train.json", f"data.train.images={tmp_path}"]


def test_photos_are_timed_by_stage_and_beside_torchvision(photos: list[str]) -> None:
    (report,) = benchmark([*TINY, *photos], 3, [0]).values()
    assert report.images == 3
    assert tuple(report.stages) == STAGES
    assert report.stages[READING] > 0
    assert report.torchvision is not None and report.torchvision > 0
    assert set(report.speeds) == {0} and report.speeds[0] > 0


def test_scenes_have_no_file_to_compare_with_and_every_task_is_measured() -> None:
    reports = benchmark([*TINY, "data=shapes", "data.image_size=64", "task=joint"], 2, [0])
    assert set(reports) == {"detection", "instance_segmentation", "phrase_grounding", "vqa", "captioning"}
    assert all(report.torchvision is None for report in reports.values())


def test_the_slowest_stage_is_named_with_what_to_do() -> None:
    report = LoadingReport(5, dict(zip(STAGES, (1.0, 2.0, 6.0, 1.0), strict=True)), torchvision=4.0, speeds={2: 50.0})
    assert report.bottleneck == AUGMENTING
    told = report.lines()
    assert told[-1] == ADVICE[AUGMENTING]
    assert "60%" in next(line for line in told if line.startswith(AUGMENTING))
    assert "100.0 images/s on one thread" in "\n".join(told)
    assert "2.00 times" in "\n".join(told)
    assert any(line.startswith("data.workers=2") and "50.0 images/s" in line for line in told)


@pytest.mark.parametrize(("images", "workers"), [(0, [0]), (3, [-1])])
def test_numbers_that_measure_nothing_are_refused(images: int, workers: list[int]) -> None:
    with pytest.raises(UserError, match="--count of at least 1 and --workers of at least 0"):
        benchmark(TINY, images, workers)


def test_the_command_tells_it(tmp_path: Path, photos: list[str], glipv2: Callable[..., Any]) -> None:
    ended = glipv2(tmp_path, "data", "benchmark", *TINY, *photos, "--count", "2", "--workers", "0")
    assert ended.code == 0, ended.err
    assert "plain torchvision" in ended.out
    assert "data.workers=0" in ended.out
