"""The Lightning trainer of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glipv2.errors import UserError
from glipv2.precision import resolved_precision

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from lightning_fabric.plugins import CheckpointIO
    from pytorch_lightning.callbacks import Callback
    from pytorch_lightning.loggers import Logger


@contextmanager
def interrupts_as_such() -> Iterator[None]:
    """Ctrl-C below comes out as KeyboardInterrupt: Lightning makes exit status 1 of it."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise end.__context__ from None
        raise


def whole_checkpoints() -> CheckpointIO:
    """Checkpoints appear whole or not at all: Lightning's own writing moves them over from /tmp, byte by byte."""
    from lightning_fabric.plugins import TorchCheckpointIO

    class WholeCheckpoints(TorchCheckpointIO):
        def save_checkpoint(
            self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
        ) -> None:
            partial = f"{path}.partial"
            try:
                super().save_checkpoint(checkpoint, partial, storage_options)
                os.replace(partial, path)
            finally:
                Path(partial).unlink(missing_ok=True)

    return WholeCheckpoints()


@dataclass
class TrainerConfig:
    """What people change of `pytorch_lightning.Trainer`; everything else goes through `options`.

    val_every: optimiser steps between validations (0 = only at the end); clip: gradient norm bound;
    channels_last: memory layout of images and convolutions; precision: Lightning's, or auto, see
    `resolved_precision`.
    """

    max_steps: int = 1000
    val_every: int = 0
    accelerator: str = "auto"
    devices: Any = "auto"
    strategy: str = "auto"
    precision: str = "32-true"
    clip: float = 1.0
    accumulate: int = 1
    log_every: int = 20
    channels_last: bool = True
    progress: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """UserError for settings that this machine or Lightning can't follow."""
        self.build(None, [], [])

    def build(
        self, folder: Path | None, callbacks: Sequence[Callback], loggers: Sequence[Logger], skips: bool = False
    ) -> pl.Trainer:
        """The trainer; `folder` is the run's, None when nothing is to be written.

        skips: whether a step may leave parameters unused; over several devices strategy=auto then looks for them.
        """
        import pytorch_lightning as pl
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        from glipv2.ranks import own_environment

        every = (self.val_every or self.max_steps) * self.accumulate  # Lightning counts batches here
        settings: dict[str, Any] = {
            "max_steps": self.max_steps,
            "max_epochs": -1,
            "val_check_interval": every,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "accelerator": self.accelerator,
            "devices": self.devices,
            "strategy": self.strategy,
            "precision": resolved_precision(self.precision, self.accelerator),
            "gradient_clip_val": self.clip or None,
            "accumulate_grad_batches": self.accumulate,
            "log_every_n_steps": self.log_every,
            "enable_progress_bar": self.progress,
            "enable_model_summary": False,
            "enable_checkpointing": any(isinstance(c, pl.callbacks.ModelCheckpoint) for c in callbacks),
            "default_root_dir": str(folder) if folder else None,
            "logger": list(loggers) or False,
            "callbacks": list(callbacks),
            "plugins": [whole_checkpoints(), *own_environment()],
        }
        try:
            trainer = pl.Trainer(**{**settings, **self.options})
            if skips and self.strategy == "auto" and isinstance(trainer.strategy, pl.strategies.DDPStrategy):
                settings["strategy"] = "ddp_find_unused_parameters_true"
                trainer = pl.Trainer(**{**settings, **self.options})
            return trainer
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UserError(f"trainer: Lightning refuses these settings: {' '.join(str(error).split())}") from error
