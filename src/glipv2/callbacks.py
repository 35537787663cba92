"""What happens around training steps: checkpoints, progress, an orderly end."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    Callback,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
)

from glipv2.checkpoint_files import LAST
from glipv2.monitors import GradientNorms, Throughput
from glipv2.nonfinite import StopOnNonFinite
from glipv2.saving import LastCheckpoint, StepSeeds
from glipv2.trainer import TrainerConfig

log = logging.getLogger(__name__)


def training_callbacks(folder: Path, monitor: str, trainer: TrainerConfig, seed: int, loggers: bool) -> list[Callback]:
    """Best and last checkpoint under `folder`, progress for a terminal or a log file, learning rates."""
    callbacks: list[Callback] = [
        StepSeeds(seed),
        LastCheckpoint(folder / "checkpoints" / LAST, trainer.save_every, trainer.save_minutes),
        BestCheckpoint(folder / "checkpoints", monitor),
        StopOnNonFinite(folder),
        Throughput(),
    ]
    if trainer.ema:
        callbacks.insert(0, Averaged(trainer.ema))
    if trainer.progress:
        callbacks.append(StepsBar(refresh_rate=5) if sys.stdout.isatty() else ProgressLines())
    if loggers:
        callbacks += [LearningRateMonitor(logging_interval="step"), GradientNorms()]
    return callbacks


class StepsBar(RichProgressBar):
    """Lightning's, which would tell an epoch: here the whole run is one, without an end (0/-2)."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{'Training':{len(self.validation_description)}}"


class BestCheckpoint(ModelCheckpoint):
    """best.ckpt: the checkpoint with the highest monitored number; a folder that was moved keeps it."""

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(
            dirpath=folder, filename="best", monitor=monitor, mode="max", save_top_k=1,
            auto_insert_metric_name=False, enable_version_counter=False,
        )  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning forgets what was best when the folder has another name."""
        here = str(self.dirpath)
        moved = dict(state_dict)
        if (Path(here) / "best.ckpt").is_file():
            best = str(Path(here) / "best.ckpt")
            moved["best_k_models"] = dict.fromkeys(
                [best] * bool(state_dict["best_k_models"]), state_dict["best_model_score"]
            )
            moved |= {"dirpath": here, "best_model_path": best, "kth_best_model_path": best}
        super().load_state_dict(moved if moved["best_k_models"] else state_dict)


class Averaged(EMAWeightAveraging):
    """Lightning's moving average of the weights: validated, stored as a checkpoint's `state_dict`, and what is left.

    An end within a validation puts the weights that are trained back in their place first. At the end of training the
    average takes their place when the last checkpoint holds both, so that a longer run goes on from it as if it had
    been one.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)
        self._swapped = False

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = self._average_model is not None

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pass  # the last checkpoint is written now, maybe after this

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._swapped:
            self._swap_models(pl_module)
            self._swapped = False


class ProgressLines(Callback):
    """One line now and then, for output that is not a terminal."""

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self._start = time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step and step % self.every == 0 and trainer.is_global_zero:
            terms = {
                name.removeprefix("train/"): float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith("train/")
            }
            shown = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
            seconds = time.perf_counter() - self._start
            log.info("step %d/%s  %s  %.0f s", step, trainer.max_steps, shown, seconds)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        monitor = getattr(getattr(pl_module, "config", None), "monitor", "")
        if monitor in trainer.callback_metrics and trainer.is_global_zero:
            log.info("step %d  %s %.4f", trainer.global_step, monitor, float(trainer.callback_metrics[monitor]))
