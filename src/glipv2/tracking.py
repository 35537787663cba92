"""Where a run's numbers and pictures go: CSV always, Weights & Biases offline unless asked otherwise."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.utilities import rank_zero_only

from glipv2.errors import UserError, nearest
from glipv2.report.sweep import last_word, swept_keys
from glipv2.runs import write_json

if TYPE_CHECKING:
    from PIL.Image import Image
    from pytorch_lightning.loggers import Logger

    from glipv2.trackers import Tracker, WandbTracker

log = logging.getLogger(__name__)

WANDB = ("offline", "online")
MODES = (*WANDB, "off", "tensorboard")
IDENTITY = "wandb.json"  # as which run a folder stands at Weights & Biases, for its resumption
LONGEST_NAME = 100  # characters of a run's name


@dataclass(frozen=True)
class Label:
    """What a run is called at a tracker, and which runs it stands among."""

    name: str
    group: str


@dataclass
class TrackingConfig:
    """mode: "offline" (sync later with `wandb sync`), "online", "off" (CSV alone) or "tensorboard".

    The rest is Weights & Biases'. group: default the sweep, else the experiment; run_name: default what tells the run
    from others of its group; checkpoints: whether weights and checkpoints become an artifact when the run ends.
    """

    mode: str = "offline"
    project: str = "glipv2"
    entity: str | None = None
    group: str | None = None
    run_name: str | None = None
    tags: list[str] = field(default_factory=list)
    checkpoints: bool = False

    def check(self) -> None:
        """UserError for a mode that does not exist, or whose package is not installed."""
        if self.mode not in MODES:
            raise UserError(f"tracking.mode: no mode '{self.mode}'; {nearest(self.mode, MODES)}")
        if self.mode == "tensorboard" and not find_spec("tensorboard"):
            raise UserError('tracking=tensorboard needs its package: pip install "glipv2[tensorboard]"')

    def build(self, folder: Path, label: Label, config: Mapping[str, Any], steps: int = 0) -> list[Logger]:
        """CSV in the run's folder, and the tracker that is on. Its failing never stops a run.

        steps: how many a run that goes on has done.
        """
        from glipv2.curves_file import CurvesLogger

        loggers: list[Logger] = [CurvesLogger(folder, steps)]
        if self.mode == "off" or getattr(rank_zero_only, "rank", 0) > 0:
            return loggers
        try:
            if self.mode == "tensorboard":
                loggers.append(self._tensorboard(folder, config, steps))
            else:
                loggers.append(self._wandb(folder, label, config))
        except Exception as error:  # any failure of a tracker is worth a warning, not a run
            told = " ".join(str(error).split()) or type(error).__name__
            log.warning("tracking=%s could not start (%s); going on with metrics.csv alone", self.mode, told)
        return loggers

    def _tensorboard(self, folder: Path, config: Mapping[str, Any], steps: int) -> Logger:
        from glipv2.trackers import TensorBoardTracker

        tracker = TensorBoardTracker(folder, steps)
        _ = tracker.experiment  # makes its files now, so that a failure shows here
        tracker.tell(config)
        return tracker

    def _wandb(self, folder: Path, label: Label, config: Mapping[str, Any]) -> Logger:
        """Online where that is asked for and possible: else offline, so that the numbers can still be sent."""
        from glipv2.trackers import abandon_wandb, begin_wandb, line_of

        settings = {
            "project": self.project,
            "entity": self.entity,
            "name": self.run_name or label.name,
            "group": self.group or label.group,
            "tags": list(self.tags),
            "config": dict(config),
            **_identity(folder),
        }
        try:
            tracker = begin_wandb(folder, "online" if self.mode == "online" else "offline", settings)
        except Exception as error:
            if self.mode != "online":
                raise
            sending = f"wandb sync {folder / 'wandb' / 'offline-run-*'}"
            log.warning("Weights & Biases can't be reached (%s); offline for now, later: %s", line_of(error), sending)
            abandon_wandb()
            tracker = begin_wandb(folder, "offline", settings)
        _remember(folder, tracker)
        return tracker


def label_of(experiment: str, folder: Path, words: Sequence[str] = ()) -> Label:
    """A trial is called by its number and what is swept over, as `words` (KEY=VALUE) give it, others by their folder.

    Groups are a sweep's trials, or the runs of an experiment.
    """
    swept = swept_keys(folder.parent)
    if swept is None:
        name = experiment if folder.name == experiment else f"{experiment}/{folder.name}"
        return Label(name[:LONGEST_NAME], experiment)
    given = dict(word.lstrip("+").partition("=")[::2] for word in words if "=" in word)
    told = [f"{last_word(key, swept)}={_shown(given[key])}" for key in swept if key in given]
    return Label(" ".join([folder.name, *told])[:LONGEST_NAME], f"{experiment}/{folder.parent.name}")


def _shown(value: str) -> str:
    """A drawn number in few digits."""
    try:
        return value if value.lstrip("-").isdigit() else f"{float(value):.3g}"
    except ValueError:
        return value.strip("'\"")


def _identity(folder: Path) -> dict[str, str]:
    """The id under which the folder's run stands already, for a run that goes on."""
    try:
        return {"id": str(json.loads((folder / IDENTITY).read_text("utf-8"))["id"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _remember(folder: Path, tracker: WandbTracker) -> None:
    run = tracker.run
    facts = {"id": run.id, "project": run.project, "entity": run.entity, "name": run.name, "url": run.url}
    write_json(folder / IDENTITY, {key: value for key, value in facts.items() if value})


def trackers_in(loggers: Sequence[Logger]) -> list[Tracker]:
    """Those that take more than numbers; none on further ranks."""
    from glipv2.trackers import Tracker

    return [logger for logger in loggers if isinstance(logger, Tracker)]


def end_tracking(loggers: Sequence[Logger]) -> None:
    """Closes the run at every tracker, so that the next job of a sweep gets one of its own."""
    for tracker in trackers_in(loggers):
        tracker.end()


def log_facts(loggers: Sequence[Logger], facts: Mapping[str, Any]) -> None:
    """What is known of a run beside its config, to the trackers that take it."""
    for tracker in trackers_in(loggers):
        tracker.tell(facts)


def log_summary(loggers: Sequence[Logger], numbers: Mapping[str, float]) -> None:
    """What is known of a whole run at its end, beside its scores."""
    for tracker in trackers_in(loggers):
        tracker.sum_up(numbers)


def log_pictures(loggers: Sequence[Logger], key: str, pictures: Sequence[Image], step: int) -> None:
    """A gallery to every tracker that takes pictures."""
    for tracker in trackers_in(loggers):
        tracker.show(key, pictures, step)


def log_files(loggers: Sequence[Logger], name: str, files: Sequence[Path]) -> None:
    """Weights and checkpoints to every tracker that takes files; those that are not there are left out."""
    there = [file for file in files if file.is_file()]
    for tracker in trackers_in(loggers) if there else ():
        tracker.keep(name, there)
