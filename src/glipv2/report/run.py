"""The folder that a training run leaves behind, read as far as it can be read."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glipv2.errors import UserError
from glipv2.report.photographs import Photograph, read_photographs

# What a run's folder may hold, and what the page draws from it.
PARTS = {
    "metrics.json": "headline numbers and tables",
    "metrics.csv": "curves",
    "diagnosis": "what goes wrong",
    "gallery": "pictures of truth beside prediction",
    "predictions": "predictions on photographs",
    "config.yaml": "the config",
    "environment.json": "the environment",
    "facts.json": "data and model",
}
RETENTION = "retention.json"  # only where weights were measured before and after
EXTREMES = ("best", "worst")  # folders in that of a gallery
PICTURE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp"})
Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class RunFolder:
    """What one run left behind; parts that are absent are empty and named in `missing`.

    metrics: the final numbers; curves: (step, value) pairs in order of step by the name of a logged
    number; galleries: picture files by split, those of its best as "val/best"; diagnoses: what goes wrong, by split;
    retention: numbers before and after; problems: what was there but could not be read.
    """

    path: Path
    metrics: Mapping[str, float]
    curves: Mapping[str, Curve]
    config: Mapping[str, Any]
    environment: Mapping[str, str]
    galleries: Mapping[str, tuple[Path, ...]]
    photographs: tuple[Photograph, ...]
    missing: tuple[str, ...]
    problems: tuple[str, ...]
    diagnoses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    retention: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """ "finished", or how far it came, in words for people."""
        if "run/steps" in self.metrics:
            return "finished"
        steps = [curve[-1][0] for name, curve in self.curves.items() if name.startswith("train/") and curve]
        trainer = self.config.get("trainer")
        wanted = trainer.get("max_steps") if isinstance(trainer, Mapping) else None
        if steps:
            return f"not finished: logged up to step {max(steps):.0f}{f' of {wanted}' if wanted else ''}"
        if self.metrics:
            return "an evaluation" if not self.config else "numbers without an end of training"
        return "not finished: nothing was logged" if self.config else "nothing of a training"

    @property
    def command(self) -> str:
        """The words it was made by, "" where they are unknown."""
        words = str(self.environment.get("command", "")).split(" ", 1)
        return f"glipv2 {words[1]}" if len(words) > 1 else ""

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def split(self) -> str:
        """The split that was scored while training, to which scores in `curves` belong."""
        return str(self.config.get("split", "val"))

    @classmethod
    def read(cls, path: Path | str) -> RunFolder:
        """Whatever can be read of the folder at `path`.

        Raises UserError when there is no such folder, or when it holds nothing of a run.
        """
        folder = Path(path)
        _check_is_run(folder)
        problems: list[str] = []
        environment = _json_mapping(folder / "environment.json", problems)
        photographs = read_photographs(folder / "predictions", _pictures(folder / "predictions"), problems)
        return cls(
            path=folder,
            metrics=_read_metrics(folder / "metrics.json", problems),
            curves=_read_curves(folder / "metrics.csv", problems),
            config=_read_config(folder / "config.yaml", problems),
            environment={key: _plain(value) for key, value in environment.items() if value is not None},
            galleries=_read_galleries(folder / "gallery"),
            photographs=photographs,
            missing=tuple(part for part in PARTS if not (folder / part).exists()),
            diagnoses=_read_diagnoses(folder / "diagnosis", problems),
            facts=_json_mapping(folder / "facts.json", problems),
            retention=_json_mapping(folder / RETENTION, problems),
            problems=tuple(problems),  # last: what is read before may add to them
        )


def _read_diagnoses(folder: Path, problems: list[str]) -> dict[str, dict[str, Any]]:
    """By split; of protocols with a folder, by its name and theirs."""
    files = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    found = {path.relative_to(folder).with_suffix("").as_posix(): _json_mapping(path, problems) for path in files}
    return {name: values for name, values in found.items() if values}


def is_run(folder: Path) -> bool:
    """Whether anything of a run is in the folder."""
    return folder.is_dir() and any((folder / part).exists() for part in PARTS)


def _check_is_run(folder: Path) -> None:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"expected the folder of a run, but '{folder}' {what}")
    if is_run(folder):
        return
    inside = sorted(child.name for child in folder.iterdir() if (child / "metrics.json").is_file())
    if inside:
        raise UserError(f"'{folder}' is not a run itself, but holds runs: {', '.join(inside[:8])}; name these instead")
    raise UserError(f"'{folder}' holds nothing of a run; expected at least one of {', '.join(PARTS)} in it")


def _json_mapping(path: Path, problems: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path.name} could not be read: {error}")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name}: expected an object of names and values, but got {type(value).__name__}")
        return {}
    return value


def _read_metrics(path: Path, problems: list[str]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name, value in _json_mapping(path, problems).items():
        number = _number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        if number is not None:
            metrics[name] = number
        else:
            problems.append(f"{path.name}: expected a number for '{name}', but got {type(value).__name__}")
    return metrics


def _read_curves(path: Path, problems: list[str]) -> dict[str, Curve]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        problems.append(f"{path.name} could not be read: {error}")
        return {}
    curves: dict[str, list[tuple[float, float]]] = {}
    unread = 0
    for row in rows:
        step = _number(row.get("step"))
        for name, cell in row.items():
            if name in ("step", "epoch") or not cell or not isinstance(name, str):
                continue  # a name that is no text marks cells beyond the header
            value = _number(cell)
            if step is None or value is None:
                unread += 1
            else:
                curves.setdefault(name, []).append((step, value))
    if unread:
        problems.append(f"{path.name}: {unread} values were left out, because they or their step are not numbers")
    return {name: tuple(sorted(points, key=lambda point: point[0])) for name, points in curves.items()}


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None


def _read_config(path: Path, problems: list[str]) -> Mapping[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if not path.is_file():
        return {}
    try:
        # The file is resolved already; what still looks like an interpolation is shown as it stands.
        value = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        problems.append(f"{path.name} could not be read: {error}")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name}: expected names with values, but got {type(value).__name__}")
        return {}
    return {str(key): part for key, part in value.items()}


def _plain(value: Any) -> str:
    """An entry of environment.json as text; lists, such as a command's words, with spaces between."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _read_galleries(folder: Path) -> dict[str, tuple[Path, ...]]:
    if not folder.is_dir():
        return {}
    splits = sorted(child for child in folder.iterdir() if child.is_dir())
    places = [(split.name, split) for split in splits]
    places += [(f"{split.name}/{part}", split / part) for split in splits for part in EXTREMES]
    return {name: pictures for name, place in places if (pictures := _pictures(place))}


def _pictures(folder: Path) -> tuple[Path, ...]:
    """The picture files of a folder, 2 before 10."""
    if not folder.is_dir():
        return ()
    files = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_ENDINGS and path.is_file()]
    return tuple(sorted(files, key=lambda path: natural(path.name)))


def natural(name: str) -> list[tuple[float, str]]:
    """Sorts digits by value and the rest by letters."""
    parts = re.findall(r"\d+|\D+", name)
    return [(float(part), "") if part.isdecimal() and len(part) < 16 else (math.inf, part) for part in parts]


def flat_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Every value of a nested config as text, by dotted key."""
    values: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            values |= flat_config(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = str(value)
    return values
