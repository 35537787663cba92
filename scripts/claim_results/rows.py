"""A sweep's trials as rows of a small table, and that table as a CSV file."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from glipv2.data.shapes.scene import RARE_PAIRS, category_name
from glipv2.errors import UserError
from glipv2.report.run import RunFolder, natural
from glipv2.report.scores import parsed
from glipv2.report.sweep import planned_trials
from glipv2.report.trials import read_sweep, values_of

SEED, MINUTES = "seed", "minutes"
KEPT, PROMPTED = "kept", "prompted"  # folders in a trial's: of what its weights do elsewhere, and learn elsewhere
RARE = "detection/box_ap_rare"  # mean over the names that training seldom meets, of those that were scored


@dataclass(frozen=True)
class Trial:
    """arm: what was swept, the seed apart, as words; numbers: by their names in metrics.json."""

    arm: Mapping[str, str]
    seed: int
    numbers: Mapping[str, float]
    minutes: float


def trials_in(folder: Path) -> list[Trial]:
    """The trials of a sweep; UserError where a folder is no sweep, or not all that were planned have ended."""
    sweep = read_sweep(folder)
    if sweep is None:
        raise UserError(f"{folder}: expected the folder of a sweep, with multirun.yaml in it")
    found = []
    for path in sweep.trials:
        run = RunFolder.read(path)
        if run.state != "finished":
            raise UserError(f"{path}: this trial is {run.state}; glipv2 train resume={folder} goes on with it")
        values = dict(zip(sweep.keys, values_of(run, sweep.keys), strict=True))
        seed = int(values.pop(SEED, "0"))
        arm = {key: value.lower() if value in ("True", "False") else word(value) for key, value in values.items()}
        numbers = numbers_of(run.metrics) | elsewhere_in(path)
        found.append(Trial(arm, seed, numbers, run.metrics["run/seconds"] / 60))
    planned = planned_trials(folder)
    if len(found) != planned:
        raise UserError(
            f"{folder}: {len(found)} of {planned} trials are there; glipv2 train resume={folder} makes the others"
        )
    return found


def elsewhere_in(trial: Path) -> dict[str, float]:
    """The main numbers of a trial's weights in other worlds, below kept/ and prompted/, of those that were measured."""
    found: dict[str, float] = {}
    for part in (KEPT, PROMPTED):
        path = trial / part / "metrics.json"
        if path.is_file():
            numbers = numbers_of(json.loads(path.read_text("utf-8")))
            found |= {f"{part}/{key}": value for key, value in numbers.items()}
    return found


def numbers_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """The main number of every task and split, and AP over rare names."""
    main = [score.key for score in parsed(metrics).values() if score.is_main and not score.category]
    found = {key: metrics[key] for key in main}
    rare = [metrics.get(f"detection/box_ap/{category_name(pair)}", -1.0) for pair in RARE_PAIRS]
    scored = [value for value in rare if value >= 0]
    return found | ({RARE: mean(scored)} if scored else {})


def write_rows(path: Path, trials: Sequence[Trial]) -> None:
    """One line a trial, arms in order."""
    arms = list(dict.fromkeys(key for trial in trials for key in trial.arm))
    numbers = list(dict.fromkeys(name for trial in trials for name in trial.numbers))
    ordered = sorted(trials, key=lambda trial: (*(natural(trial.arm.get(key, "")) for key in arms), trial.seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*arms, SEED, *numbers, MINUTES])
        for trial in ordered:
            values = [f"{trial.numbers[name]:.5g}" if name in trial.numbers else "" for name in numbers]
            writer.writerow([*(trial.arm.get(key, "") for key in arms), trial.seed, *values, f"{trial.minutes:.2f}"])


def read_rows(path: Path) -> list[Trial]:
    """What `write_rows` wrote: columns before the seed are the arm, those after it numbers."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    place = head.index(SEED)
    found = []
    for line in lines:
        arm = dict(zip(head[:place], line[:place], strict=True))
        numbers = {name: float(value) for name, value in zip(head[place + 1 : -1], line[place + 1 : -1], strict=True)
                   if value}  # fmt: skip
        found.append(Trial(arm, int(line[place]), numbers, float(line[-1])))
    return found


def of_arm(trials: Iterable[Trial], arm: Mapping[str, object]) -> dict[int, Trial]:
    """The trials that were given all of these words, by seed; UserError where two of them share a seed."""
    found: dict[int, Trial] = {}
    for trial in trials:
        if all(trial.arm.get(key) == word(value) for key, value in arm.items()):
            if trial.seed in found:
                raise UserError(f"{dict(arm)} names several arms, of which two have seed {trial.seed}")
            found[trial.seed] = trial
    return found


def word(value: object) -> str:
    """A value of a YAML file as it stands on a command line; Hydra writes mappings closer and truths as Python does."""
    if isinstance(value, bool):
        return str(value).lower()
    text = " ".join(str(value).split())
    if text.startswith("{"):
        text = re.sub(r" ?([:,]) ?", r"\1 ", text).replace("False", "false").replace("True", "true")
    return text
