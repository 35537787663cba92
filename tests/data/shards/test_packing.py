"""Claims about packing: nothing is lost, and a killed packing ends with the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_file import good, opened
from killed import die, dies_at, killed
from packs import SMALL, assert_same, assert_same_samples, coco, contents, packed, reopened, source
from PIL import Image
from split_files import split

from glipv2.data.joined import AnswerChoice
from glipv2.data.shapes import ShapesDataset
from glipv2.data.shards import writing
from glipv2.data.shards.source import ViewSource
from glipv2.data.shards.writing import PackConfig, Work, pack
from glipv2.data.sources import AutoData, CocoData
from glipv2.errors import UserError

NEEDS = [
    frozenset(needs) for needs in ({"captions"}, {"boxes"}, {"boxes", "masks"}, {"boxes", "phrases"}, {"questions"})
]


def test_every_need_of_a_data_set_finds_its_own_samples(folder: Path) -> None:
    content = good()
    content["annotations"][2]["segmentation"] = {"size": [30, 40], "counts": [500, 100, 600]}
    data = CocoData(train=split(folder, annotations=content), answer_min_count=1)
    opened_for = {needs: data.dataset("train", needs) for needs in NEEDS}
    views = [ViewSource(needs, samples, data.holds("train", needs)) for needs, samples in opened_for.items()]
    index = pack({"train": views}, folder / "packed", SMALL, {})
    assert [view.count for view in index.splits["train"].views] == [2, 3, 3, 1, 2]
    assert sum(shard.pictures for shard in index.splits["train"].shards) == 3  # each once
    for needs, samples in opened_for.items():
        found = reopened(folder / "packed", needs, answers=AnswerChoice(3129, 1))
        assert_same_samples(found, samples)
    assert index.splits["train"].views[3].holds == ("boxes", "captions", "phrases")


MINI = [
    "annotations/instances_val2017.json",
    "annotations/captions_val2017.json",
    "annotations/lvis_val.json",
    "annotations/odvg_det_val.jsonl",
    "annotations/odvg_val.jsonl",
    "annotations/grounding_val.json",
    "annotations/vqa_val_questions.json",
    "annotations/refcoco_style/refs_val.jsonl",
    "flickr",
    "yolo",
    "voc",
]


@pytest.mark.parametrize("path", MINI)
def test_every_layout_of_the_same_photos_packs_unchanged(shared: Path, tmp_path: Path, path: str) -> None:
    data = AutoData(path=str(shared / "data/coco_mini" / path), answer_min_count=1)
    views = []
    for needs in NEEDS:
        try:
            data.check_needs(needs, ["val"], "a test")
            samples = data.dataset("val", needs)
        except UserError:  # it has nothing for these needs
            continue
        views.append(ViewSource(needs, samples, data.holds("val", needs)))
    pack({"val": views}, tmp_path / "packed", PackConfig(2**21, 0), {})
    assert views
    for view in views:
        found = AutoData(path=str(tmp_path / "packed")).dataset("val", view.needs)
        assert_same_samples(found, view.samples, rows=range(0, 50, 5))


def test_scenes_without_files_are_packed_as_they_look(tmp_path: Path) -> None:
    needs, samples = frozenset({"boxes", "masks"}), ShapesDataset("unseen", 4, image_size=64)
    pack({"unseen": source(samples, needs)}, tmp_path / "packed", SMALL, {})
    assert_same_samples(reopened(tmp_path / "packed", needs, "unseen"), samples)


def test_a_picture_that_a_file_lists_twice_is_kept_once_with_both_truths(folder: Path) -> None:
    content = good()
    content["images"][2]["file_name"] = "a.png"
    samples = opened(folder, content)
    index = packed(folder, samples, PackConfig(workers=0))
    assert [shard.pictures for shard in index.splits["train"].shards] == [2]
    assert_same_samples(reopened(folder / "packed"), samples)


def test_a_picture_with_an_orientation_keeps_the_frame_of_its_boxes(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, size in (("a.png", (30, 40)), ("c.png", (40, 30))):  # turned it has the size of the record, or not
        Image.fromarray(np.arange(3600, dtype=np.uint8).reshape(size[1], size[0], 3)).save(
            folder / "images" / name, exif=exif
        )
    samples = opened(folder, good())
    packed(folder, samples)
    assert_same_samples(reopened(folder / "packed"), samples)


def test_webdataset_reads_the_archives(folder: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    index = packed(folder, coco(folder), PackConfig(workers=0))
    (shard,) = index.splits["train"].shards
    found = list(webdataset.WebDataset(str(folder / "packed" / shard.file), shardshuffle=False, empty_check=False))
    assert [one["__key__"] for one in found] == [f"{number:09d}" for number in range(5)]
    assert [one["png"] for one in found] == [(folder / f"images/{number}.png").read_bytes() for number in range(5)]
    assert all(b'"boxes":[[1.1,2.0,' in one["boxes.json"] for one in found)


def test_workers_change_no_byte(folder: Path) -> None:
    samples = coco(folder)
    packed(folder, samples)
    first = contents(folder / "packed")
    pack({"train": source(samples)}, folder / "other", replace(SMALL, workers=2), {})
    assert contents(folder / "other") == first


def test_answers_are_chosen_when_they_are_learned_not_when_they_are_packed(folder: Path) -> None:
    needs = frozenset({"questions"})
    data = CocoData(train=split(folder), answer_min_count=1)
    pack({"train": source(data.dataset("train", needs), needs)}, folder / "packed", SMALL, {})
    for most, least in ((3129, 1), (1, 1), (2, 1)):
        own = replace(data, answer_vocabulary=most, answer_min_count=least).dataset("train", needs)
        assert reopened(folder / "packed", needs, answers=AnswerChoice(most, least)).answers == own.answers
    assert reopened(folder / "packed", needs).answers == ()
    with pytest.raises(UserError, match=r"data\.answer_min_count=1"):
        reopened(folder / "packed", needs, answers=AnswerChoice(3129, 9))


# Broken pictures


def test_a_picture_that_cannot_be_read_ends_the_packing_or_is_left_out_and_counted(folder: Path) -> None:
    samples = coco(folder)
    (folder / "images/1.png").write_bytes(b"no picture")
    (folder / "images/4.png").unlink()  # nothing comes after it
    with pytest.raises(UserError, match=r"1\.png is not an image of a known format.*data\.on_error=skip leaves it out"):
        packed(folder, samples, words={"policy": "raise"})
    with pytest.raises(UserError, match="begun with another on_error, policy"):
        packed(folder, samples, replace(SMALL, on_error="skip"), {"policy": "skip"})
    index = pack({"train": source(samples)}, folder / "skipped", replace(SMALL, on_error="skip"), {})
    assert index.splits["train"].left_out == ("1.png", "4.png")
    found = reopened(folder / "skipped")
    assert [found.truth(index).image_id for index in range(len(found))] == [0, 2, 3]
    for number in (0, 2, 3):
        (folder / f"images/{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match="train: none of the pictures with boxes can be read"):
        pack({"train": source(samples)}, folder / "nothing", replace(SMALL, on_error="skip"), {})


# Killed


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (writing._Archive, "add", 3),  # in the middle of a shard
        (writing._Archive, "__exit__", 2),  # a shard is whole, and nothing is noted of it
        (Work, "add", 2),  # between two shards
        (writing, "_write", 1),  # before the first
        (writing, "_write", 7),  # among the last files
        (writing.os, "replace", 4),
    ],
)
def test_a_packing_that_is_killed_and_run_again_ends_with_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int
) -> None:
    samples, config = coco(folder), PackConfig(shard_bytes=300, workers=0)
    pack({"train": source(samples), "val": source(samples)}, folder / "whole", config, {"seed": 1})
    act = {"train": source(samples), "val": source(samples)}, folder / "packed", config, {"seed": 1}
    with monkeypatch.context() as patched:
        dies_at(patched, owner, name, call)
        killed(lambda: pack(*act))
    assert not (folder / "packed").exists()
    pack(*act)
    assert contents(folder / "packed") == contents(folder / "whole")
    assert not (folder / "packed.packing").exists()


def test_shards_that_are_done_are_not_packed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = coco(folder)
    with monkeypatch.context() as patched:
        dies_at(patched, Work, "add", 3)
        killed(lambda: packed(folder, samples))
    done = []
    add = Work.add
    monkeypatch.setattr(
        Work, "add", lambda self, split, number, note: (done.append(number), add(self, split, number, note))
    )
    packed(folder, samples)
    assert done == [3, 4]


def test_work_that_was_begun_with_other_words_is_not_gone_on_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = coco(folder)
    with monkeypatch.context() as patched:
        dies_at(patched, Work, "add", 1)
        killed(lambda: packed(folder, samples, words={"files": "a"}))
    with pytest.raises(UserError, match=r"packed\.packing was begun with another files; remove it to begin anew"):
        packed(folder, samples, words={"files": "b"})


def test_an_output_that_is_there_is_never_written_over(folder: Path) -> None:
    samples = coco(folder)
    packed(folder, samples)
    first = contents(folder / "packed")
    with pytest.raises(UserError, match="is there already"):
        packed(folder, samples)
    assert contents(folder / "packed") == first


def test_a_killed_clearing_up_leaves_the_output_and_goes_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = coco(folder)
    with monkeypatch.context() as patched:
        patched.setattr(writing.shutil, "rmtree", die)
        killed(lambda: packed(folder, samples))
    assert (folder / "packed.packing").exists()
    assert_same_samples(reopened(folder / "packed"), samples)
    with pytest.raises(UserError, match="is there already"):
        packed(folder, samples)
    assert not (folder / "packed.packing").exists()


# The command


def test_the_command_packs_a_path_for_every_task_that_it_serves(
    folder: Path, glipv2: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = opened(folder, good())
    (folder / "instances.json").rename(folder / "instances_train.json")
    ended = glipv2(folder, "data", "pack", "instances_train.json", "-o", "packed", "--workers", "0")
    assert ended.code == 0, ended.err
    assert "train: 3 pictures, 3 with boxes; 1 shards" in ended.out  # one box has no mask
    assert "train from it with data=packed data.path=packed" in ended.out
    assert_same(reopened(folder / "packed").truth(1), samples.truth(1))
    again = glipv2(folder, "data", "pack", "instances_train.json", "-o", "packed", "--workers", "0")
    assert again.code == 2
    assert "packed is there already" in again.err
    nothing = glipv2(folder, "data", "pack", "instances_train.json", "-o", "other", "--splits", "val")
    assert nothing.code == 2
    assert not (folder / "other").exists()
