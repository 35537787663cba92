"""Kills one training with SIGKILL at random times, goes on each time, and compares what comes out with the undisturbed.

    python scripts/kill_and_resume.py --kills 20 --seed 0 --output /tmp/kills

Every trial is a run of its own: started, killed at a moment drawn evenly from the time that the undisturbed run
takes (its start, validations, writing and final evaluation too), and gone on with by `glipv2 train resume=RUN`. A
Markdown table goes to the terminal. Exit status 1 when one trial ends in other weights or curves.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

import glipv2.train  # noqa: F401  # what a run imports, once for all of them
from glipv2.cli import main as glipv2_command

TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]", "task=detection", "loss=glipv2",
    "data=shapes", "data.image_size=64", "data.batch_size=4", "data.eval_batch_size=4", "data.workers=1",
    "data.eval_scenes=4", "data.augment.crop=0.5", "data.augment.color=0.3", "trainer.accelerator=cpu",
    "trainer.log_every=1", "trainer.max_steps=16", "trainer.val_every=5", "trainer.save_every=2", "trainer.ema=0.9",
    "trainer.progress=false", "tracking=off", "gallery=0",
)  # fmt: skip
TIMES = ("seconds", "images_per_second", "time/")  # of columns that no two runs share


@dataclass(frozen=True)
class Trial:
    """What one kill did. steps: in the checkpoint that was there, None where there was none yet."""

    after: float
    steps: int | None
    logged: int
    same_weights: bool
    same_curves: bool

    @property
    def row(self) -> str:
        """Of the table."""
        found = "none yet" if self.steps is None else f"step {self.steps}"
        weights, curves = ("equal" if same else "**differ**" for same in (self.same_weights, self.same_curves))
        return f"| {self.after:.1f} s | {found} | {self.logged} | {weights} | {curves} |"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("kills"))
    parser.add_argument("words", nargs="*", help="further words of glipv2 train")
    options = parser.parse_args()
    words = [*TINY, *options.words]
    shutil.rmtree(options.output, ignore_errors=True)
    begun = time.perf_counter()
    os.waitpid(start(options.output / "whole", words), 0)
    length = time.perf_counter() - begun
    print(f"the undisturbed run took {length:.1f} s\n", flush=True)
    print("| killed after | checkpoint then | rows in metrics.csv | final weights | curves |\n|--:|---|--:|---|---|")
    rng = random.Random(options.seed)
    trials = []
    for number in range(options.kills):
        after = rng.random() * length
        trials.append(trial(options.output / f"killed_{number}", options.output / "whole", words, after))
        print(trials[-1].row, flush=True)
    sys.exit(not all(one.same_weights and one.same_curves for one in trials))


def start(folder: Path, words: Sequence[str]) -> int:
    """A run in a process of its own, forked from this one after its imports; the id of it and of its group.

    The group lets loader processes be killed with it.
    """
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child:
        return child
    os.setsid()
    file = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    code = 1
    try:
        sys.argv = ["glipv2"]
        glipv2_command(["train", *words, f"output={folder}"])
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)
    return 0


def trial(folder: Path, whole: Path, words: Sequence[str], after: float) -> Trial:
    """One kill and what becomes of it."""
    process = start(folder, words)
    time.sleep(after)
    if os.waitpid(process, os.WNOHANG) == (0, 0):
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
    last = folder / "checkpoints/last.ckpt"
    steps = int(torch.load(last, weights_only=True)["global_step"]) if last.is_file() else None
    logged = len(rows(folder))
    begun = (folder / "config.yaml").is_file()
    os.waitpid(start(folder, [f"resume={folder}"] if begun else words), 0)
    weights, expected = (load_file(run / "weights.safetensors") for run in (folder, whole))
    same = all(torch.equal(weights[name], value) for name, value in expected.items())
    return Trial(after, steps, logged, same, rows(folder) == rows(whole))


def rows(folder: Path) -> list[dict[str, str]]:
    """The curves, without what is a time."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: value for name, value in row.items() if name and not any(word in name for word in TIMES)}
            for row in csv.DictReader(file)
        ]


if __name__ == "__main__":
    main()
