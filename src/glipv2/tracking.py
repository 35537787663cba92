"""Where a run's numbers and pictures go: CSV always, Weights & Biases offline unless asked otherwise."""

from __future__ import annotations

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

    def build(self, folder: Path, name: str, config: Mapping[str, Any], steps: int = 0) -> list[Logger]:
        """CSV in the run's folder, and W&B when it is on. W&B failing never stops a run.

        steps: how many a run that goes on has done.
        """
        from glipv2.curves_file import CurvesLogger

        loggers: list[Logger] = [CurvesLogger(folder, steps)]
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
            logger.log_image(key, on_equal_canvases(pictures), step=step)


def on_equal_canvases(pictures: list[Image]) -> list[Image]:
    """Pictures with white added right and below, all of one size: W&B shows a gallery of different ones wrongly."""
    from PIL import Image

    size = (max((one.width for one in pictures), default=0), max((one.height for one in pictures), default=0))
    canvases = [Image.new("RGB", size, "white") for _ in pictures]
    for canvas, picture in zip(canvases, pictures, strict=True):
        canvas.paste(picture, (0, 0))
    return canvases
