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
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]", "task=detection", "loss=glipv2",
    "data=shapes", "data.image_size=64", "data.batch_size=4", "data.eval_batch_size=4", "data.workers=1",
    "data.eval_scenes=4", "data.augment.crop=0.5", "data.augment.color=0.3", "trainer.accelerator=cpu",
    "trainer.log_every=1", "trainer.max_steps=24", "trainer.val_every=6", "trainer.save_every=3", "trainer.ema=0.9",
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
    start(options.output / "whole", words).wait()
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


def start(folder: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """A run in a process group of its own, so that its loader processes can be killed with it."""
    command = [sys.executable, "-m", "glipv2.cli", "train", *words, f"output={folder}"]
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, env={**os.environ})


def trial(folder: Path, whole: Path, words: Sequence[str], after: float) -> Trial:
    """One kill and what becomes of it."""
    process = start(folder, words)
    time.sleep(after)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    last = folder / "checkpoints/last.ckpt"
    steps = int(torch.load(last, weights_only=True)["global_step"]) if last.is_file() else None
    logged = len(rows(folder))
    begun = (folder / "config.yaml").is_file()
    again = start(folder, [f"resume={folder}"] if begun else words)
    again.wait()
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
