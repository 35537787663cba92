"""Claims about pictures that can't be read where data.on_error=skip: counted once, left out, never scored twice."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from coco_file import good, opened
from PIL import Image
from torch.utils.data import DataLoader

from glipv2.data.datamodule import DataModule, Feed
from glipv2.data.dataset import DataConfig, SampleDataset
from glipv2.data.readable import ReadableSamples
from glipv2.data.transforms import Example, ExampleDataset
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig

PIXELS = PixelConfig(short_side=16, max_long_side=32)


def broken(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / "images" / name).write_bytes(b"no picture")
    return folder


def names_of(examples: list[Example]) -> list[str]:
    return [example.truth.name for example in examples]


def test_the_next_sample_takes_the_place_of_a_broken_one(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    examples = ExampleDataset(opened(broken(folder, "deep/b.png"), good()), PIXELS, None, skip_broken=True)
    for _ in range(2):
        assert names_of([examples[index] for index in range(3)]) == ["a.png", "c.png", "c.png"]
    assert examples.broken is not None
    assert examples.broken.tolist() == [False, True, False]
    assert caplog.text.count("left out of training") == 1
    assert "deep/b.png" in caplog.text


def test_loader_processes_mark_broken_pictures_where_the_training_sees_it(folder: Path) -> None:
    examples = ExampleDataset(opened(broken(folder, "c.png"), good()), PIXELS, None, skip_broken=True)
    loader: DataLoader[Example] = DataLoader(examples, batch_size=None, num_workers=1)
    assert names_of(list(loader)) == ["a.png", "deep/b.png", "a.png"]
    assert examples.broken is not None
    assert examples.broken.tolist() == [False, False, True]


def test_without_skipping_a_broken_picture_ends_the_run(folder: Path) -> None:
    examples = ExampleDataset(opened(broken(folder, "a.png"), good()), PIXELS, None)
    with pytest.raises(UserError, match=r"a\.png"):
        examples[0]


def test_where_no_picture_is_left_it_says_so(folder: Path) -> None:
    samples = opened(broken(folder, "a.png", "deep/b.png", "c.png"), good())
    with pytest.raises(UserError, match="none of the 3 training pictures"):
        ExampleDataset(samples, PIXELS, None, skip_broken=True)[1]
    with pytest.raises(UserError, match="none of the 3 pictures to evaluate"):
        ReadableSamples(samples, 0)


def test_evaluation_leaves_broken_pictures_out_and_scores_the_others_once(folder: Path) -> None:
    readable = ReadableSamples(opened(broken(folder, "a.png"), good()), 0)
    assert [readable[index].name for index in range(len(readable))] == ["deep/b.png", "c.png"]
    assert [readable.truth(index).name for index in range(len(readable))] == ["deep/b.png", "c.png"]
    assert readable.left_out == {(str(folder / "images"), "a.png")}


class SkippingData(DataConfig):
    """One file for all splits."""

    on_error = "skip"

    def __init__(self, folder: Path, content: Any) -> None:
        super().__init__(batch_size=1, eval_batch_size=1, workers=0)
        self.folder, self.content = folder, content

    def dataset(self, split: str, needs: frozenset[str] = frozenset()) -> SampleDataset:
        return opened(self.folder, self.content, on_error=self.on_error)


def test_a_run_counts_records_and_pictures_of_several_tasks_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = good()
    content["annotations"][0]["bbox"] = [1, 2, 0, 0]
    content["images"][1]["file_name"] = "missing.png"  # id 3, of annotations[0] and [2]
    feeds = {
        name: Feed(frozenset({"boxes"} | needs), lambda samples, training: list)
        for name, needs in (("first", set()), ("second", {"masks"}))
    }
    with caplog.at_level(logging.WARNING):
        data = DataModule(SkippingData(broken(folder, "c.png"), content), PIXELS, feeds, train=True, eval_split="val")
        source = data._training_source("first")
        batches = [batch for _, batch in zip(range(source.order.per_pass), source.loader, strict=False)]
    assert data.skipped == {
        str(folder / "instances.json"): {"missing image file": 1, "annotation of a faulty image": 2}
    }
    assert caplog.text.count("skipped 3 records") == 1
    assert names_of([example for batch in batches for example in batch]) == ["a.png", "a.png"]
    assert data.skipped_pictures == 1  # of two tasks and of evaluation


def test_what_is_no_picture_of_the_split_is_not_read(folder: Path) -> None:
    Image.new("RGB", (3, 3)).save(folder / "images" / "other.png")
    assert len(ReadableSamples(opened(folder, good()), 0)) == 3
