"""What is measured beside the loss at steps that are logged: speed, waiting for data, gradients; sizes of parts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

SPEED, WAITING = "time/images_per_second", "time/data_wait"
NORMS = "gradients"


class Throughput(Callback):
    """Images a second of training alone, validations left out, and the share of the time in which data is waited for.

    Logged over the steps since the last that was logged, and known over the whole run.
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0
        self._since: float | None = None
        self._last = (0, 0.0, 0.0)  # images, seconds, and seconds waited at the last step that was logged

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._since = self._since or time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self.images += len(batch)
        self.seconds += now - (self._since or now)
        self._since = now
        if trainer.loggers and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = None

    @property
    def images_per_second(self) -> float:
        """Over the whole run on this rank, waiting for data included."""
        return self.images / self.seconds if self.seconds else 0.0

    def _log(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        waited = float(getattr(trainer.train_dataloader, "waited", 0.0))
        images, seconds, before = self._last
        passed = self.seconds - seconds
        self._last = (self.images, self.seconds, waited)
        if passed > 0:
            speed = (self.images - images) / passed * trainer.world_size
            numbers = {SPEED: speed, WAITING: min(1.0, (waited - before) / passed)}
            pl_module.log_dict(numbers, rank_zero_only=True, batch_size=1)


class GradientNorms(Callback):
    """The norm of the gradient before it is clipped, of all and of each part, at steps that are logged.

    Not of gradients that are spread over devices, of which no rank has the norm.
    """

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        logged = (trainer.global_step + 1) % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if logged and not isinstance(trainer.strategy, (FSDPStrategy, ModelParallelStrategy)):
            pl_module.log_dict(gradient_norms(pl_module), rank_zero_only=True, batch_size=1)


def gradient_norms(module: nn.Module) -> dict[str, Tensor]:
    """Norms by part, "gradients/all" over all of them, as scalars on the device; {} where there is no gradient."""
    grads: dict[str, list[Tensor]] = {}
    for part, parameter in by_part(module):
        if parameter.grad is not None:
            grads.setdefault(part, []).append(parameter.grad.detach())
    norms = {part: torch.stack(torch._foreach_norm(own)).float().norm() for part, own in grads.items()}
    if not norms:
        return {}
    whole = torch.stack(list(norms.values())).norm()
    return {f"{NORMS}/all": whole, **{f"{NORMS}/{part}": norm for part, norm in norms.items()}}


def by_part(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter with the part it belongs to: of the core "image", "text" or "fusion", else a head's name."""
    for name, parameter in module.named_parameters():
        words = name.split(".")
        yield (words[1] if words[0] == "core" and len(words) > 2 else words[0]), parameter


def parameter_count(module: nn.Module) -> int:
    """Parameters of a module, in ones."""
    return sum(parameter.numel() for parameter in module.parameters())


def model_summary(module: nn.Module) -> dict[str, dict[str, int]]:
    """Of each part its parameters, and how many of them are trained."""
    parts: dict[str, dict[str, int]] = {}
    for part, parameter in by_part(module):
        own = parts.setdefault(part, {"parameters": 0, "trained": 0})
        own["parameters"] += parameter.numel()
        own["trained"] += parameter.numel() if parameter.requires_grad else 0
    return parts
