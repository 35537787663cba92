"""Claims about trainings from shards: any task, and a killed one goes on with the samples that it would have seen."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from coco_file import good
from packs import PackConfig, coco, source
from safetensors.torch import load_file
from split_files import split

from glipv2.data.shards.dataset import PackedSamples
from glipv2.data.shards.writing import pack
from glipv2.structures import Sample

pytestmark = pytest.mark.slow
Command = Callable[..., Any]

TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]", "data=packed", "data.path=packed",
    "data.batch_size=2", "data.eval_batch_size=4", "data.workers=0", "data.window=2", "trainer.accelerator=cpu",
    "trainer.precision=32-true", "trainer.max_steps=8", "tracking=off",
)  # fmt: skip


def trained(folder: Path, glipv2: Command, note: Path, *words: str, dies_at: int | None = None) -> int:
    """`glipv2 train` in a process of its own, which notes every training sample that it reads; gives how it ended.

    dies_at: the read at which it is killed.
    """
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    read = PackedSamples.__getitem__

    def noted(self: PackedSamples, index: int) -> Sample:
        if self.view.rows.startswith("train"):
            with note.open("a") as file:
                file.write(f"{index}\n")
            if dies_at is not None and len(note.read_text().split()) == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index)

    PackedSamples.__getitem__ = noted  # type: ignore[method-assign]
    code = 1
    try:
        ended = glipv2(folder, "train", *TINY, *words)
        print(ended.err)
        code = ended.code
    finally:
        os._exit(code)


def test_a_killed_training_goes_on_with_the_same_samples_in_the_same_order_to_the_same_weights(
    folder: Path, glipv2: Command
) -> None:
    samples = coco(folder, 9)
    pack({"train": source(samples), "val": source(samples)}, folder / "packed", PackConfig(300, 0), {})
    whole, first, second = (folder / name for name in ("whole.txt", "first.txt", "second.txt"))
    words = ("task=detection", "trainer.val_every=3", "task.selection.min_probability=0.01")
    assert trained(folder, glipv2, whole, *words, "output=whole") == 0
    status = trained(folder, glipv2, first, *words, "output=killed", dies_at=11)  # for step 6; step 3 is saved
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert trained(folder, glipv2, second, *words, "output=killed", "resume=killed") == 0
    expected = whole.read_text().split()[:16]  # a batch more may be read than is trained on
    assert first.read_text().split() == expected[:11]
    assert second.read_text().split()[:10] == expected[6:]
    weights, others = (load_file(folder / run / "weights.safetensors") for run in ("whole", "killed"))
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_all_tasks_train_from_one_pack_together(folder: Path, glipv2: Command) -> None:
    content = good()
    content["annotations"][2]["segmentation"] = {"size": [30, 40], "counts": [500, 100, 600]}
    own = split(folder, annotations=content)
    words = [
        f"data.{part}.{key}={getattr(own, key)}"
        for part in ("train", "val")
        for key in ("images", "annotations", "captions", "questions", "answers", "grounding")
    ]
    ended = glipv2(folder, "data", "pack", "data=coco", *words, "-o", "packed", "--workers", "0")
    assert ended.code == 0, ended.err
    words = ["task=joint", "data.batch_size=1", "data.answer_min_count=1", "output=run", "trainer.max_steps=6"]
    ended = glipv2(folder, "train", *TINY, *words)
    assert ended.code == 0, ended.err
    found = json.loads((folder / "run/metrics.json").read_text())
    assert {name.split("/")[0] for name in found} >= {
        "detection", "instance_segmentation", "phrase_grounding", "vqa", "captioning",
    }  # fmt: skip
