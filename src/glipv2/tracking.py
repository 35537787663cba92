"""Where a run's numbers and pictures go: CSV always, Weights & Biases offline unless asked otherwise."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glipv2.errors import UserError, nearest

if TYPE_CHECKING:
    from PIL.Image import Image
    from pytorch_lightning.loggers import Logger

log = logging.getLogger(__name__)

MODES = ("offline", "online", "off")


@dataclass
class TrackingConfig:
    """mode: "offline" (sync later with `wandb sync`), "online" or "off". The rest is Weights & Biases'."""

    mode: str = "offline"
    project: str = "glipv2"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)

    def check(self) -> None:
        """UserError for a mode that does not exist."""
        if self.mode not in MODES:
            raise UserError(f"tracking.mode: no mode '{self.mode}'; {nearest(self.mode, MODES)}")

    def build(self, folder: Path, name: str, config: Mapping[str, Any]) -> list[Logger]:
        """CSV in the run's folder, and W&B when it is on. W&B failing never stops a run."""
        loggers: list[Logger] = [_csv_logger(folder)]
        if self.mode != "off":
            try:
                loggers.append(self._wandb(folder, name, config))
            except Exception as error:  # any failure of a tracker is worth a warning, not a run
                log.warning("Weights & Biases could not start (%s); going on with CSV alone", error)
        return loggers

    def _wandb(self, folder: Path, name: str, config: Mapping[str, Any]) -> Logger:
        from pytorch_lightning.loggers import WandbLogger

        os.environ.setdefault("WANDB_SILENT", "true")
        logger = WandbLogger(
            name=name, save_dir=str(folder), project=self.project, offline=self.mode == "offline", log_model=False,
            entity=self.entity, group=self.group, tags=list(self.tags), config=dict(config),
        )  # fmt: skip
        _ = logger.experiment  # starts the run now, so that a failure shows here
        return logger


def _csv_logger(folder: Path) -> Logger:
    """Goes on with a metrics.csv that is already there: Lightning alone would delete a resumed run's curves."""
    from pytorch_lightning.loggers import CSVLogger
    from pytorch_lightning.utilities import rank_zero_only

    path = folder / "metrics.csv"
    earlier: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            earlier = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    logger = CSVLogger(save_dir=str(folder), name="", version="")
    if earlier and getattr(rank_zero_only, "rank", 0) == 0:
        logger.experiment.metrics.extend(earlier)
        logger.save()
    return logger


def end_tracking(loggers: list[Logger]) -> None:
    """Closes the run at every tracker, so that the next job of a sweep gets one of its own."""
    from pytorch_lightning.loggers import WandbLogger

    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def log_facts(loggers: list[Logger], facts: Mapping[str, Any]) -> None:
    """What is known of a run beside its config, to the trackers that take it."""
    from pytorch_lightning.loggers import WandbLogger

    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.config.update(dict(facts), allow_val_change=True)


def log_pictures(loggers: list[Logger], key: str, pictures: list[Image], step: int) -> None:
    """A gallery to every logger that takes pictures."""
    from pytorch_lightning.loggers import WandbLogger

    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, pictures, step=step)
