"""The Lightning trainer of a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from glipv2.errors import UserError, nearest
from glipv2.models.recompute import PARTS, recompute_blocks, refuse_norms
from glipv2.precision import resolved_precision
from glipv2.ranges import at_least

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback
    from pytorch_lightning.loggers import Logger


NEVER = 1 << 40  # batches between validations
SHARDED = "fsdp"  # the strategy of glipv2.sharding; Lightning's own of that name refuses CPUs


def compilers() -> list[str]:
    """The backends of torch.compile."""
    import torch

    return list(torch.compiler.list_backends(exclude_tags=()))


@contextmanager
def interrupts_as_such() -> Iterator[None]:
    """Ctrl-C below comes out as KeyboardInterrupt: Lightning makes exit status 1 of it."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise end.__context__ from None
        raise


def compile_parts(task: nn.Module, backend: str) -> None:
    """Has torch.compile make the encoders, the tower and the region head of a task; "" leaves them as they are."""
    if not backend:
        return
    core = task.core
    assert isinstance(core, nn.Module), "a task has a core"
    for part in (core.image, core.text, core.fusion, getattr(task, "regions", None)):
        if isinstance(part, nn.Module):
            part.compile(backend=backend)


@dataclass
class TrainerConfig:
    """What people change of `pytorch_lightning.Trainer`; everything else goes through `options`.

    val_every: optimiser steps between validations, after which the best is kept (0 = none before the final
    evaluation, which measures the last weights); clip: gradient norm bound;
    strategy: Lightning's, or fsdp, which spreads weights, gradients and moments over the devices, see
    `ShardedStrategy`; channels_last: memory layout of images and convolutions (not of spread ones); precision:
    Lightning's, or auto, see `resolved_precision`; save_every (optimiser steps) and save_minutes: how often last.ckpt
    is written between validations, after which it always is (0 = not by this). grad_checkpointing: parts of the model
    (image, text, fusion) whose blocks compute their insides again in the backward pass instead of keeping them.
    compile: the backend of torch.compile for the encoders, the tower and the region head, as inductor ("" = not
    compiled). ema: decay of a moving average of the weights, which is then what is validated, stored and exported
    (0 = none). requeue: whether a SLURM job that has to make place saves, is queued again and goes on.
    """

    max_steps: int = at_least(-1, 1000)
    val_every: int = at_least(0, 0)
    accelerator: str = "auto"
    devices: Any = "auto"
    strategy: str = "auto"
    precision: str = "32-true"
    clip: float = at_least(0, 1.0)
    accumulate: int = at_least(1, 1)
    log_every: int = at_least(1, 20)
    channels_last: bool = True
    progress: bool = True
    save_every: int = 0
    save_minutes: float = 10.0
    grad_checkpointing: list[str] = field(default_factory=list)
    compile: str = ""
    ema: float = 0.0
    requeue: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """UserError for settings that this machine or Lightning can't follow."""
        if self.compile and self.compile not in compilers():
            raise UserError(f"trainer.compile: no backend '{self.compile}'; {nearest(self.compile, compilers())}")
        if not 0 <= self.ema < 1:
            raise UserError(f"trainer.ema: expected a decay of 0 to below 1, as 0.999, but got {self.ema}")
        unknown = [part for part in self.grad_checkpointing if part not in PARTS]
        if unknown:
            raise UserError(f"trainer.grad_checkpointing: no part '{unknown[0]}'; {nearest(unknown[0], PARTS)}")
        if self.strategy == SHARDED:
            self._check_sharded()
        self.build(None, [], [])

    def _check_sharded(self) -> None:
        """UserError for what spread weights can't be."""
        if self.ema or self.compile:
            word = "ema" if self.ema else "compile"
            raise UserError(f"trainer.strategy={SHARDED} can't go with trainer.{word}; leave out one of them")
        if "16" in self.precision and self.precision != "bf16-mixed":
            raise UserError(f"trainer.strategy={SHARDED} takes precision 32-true or bf16-mixed, not {self.precision}")

    def prepare(self, task: nn.Module) -> None:
        """Gives a task the memory layout, the recomputed blocks and the compiled parts that are asked for.

        Names and values of its tensors stay as they are.
        """
        import torch

        if self.channels_last and self.strategy != SHARDED:  # torch splits tensors that lie in one order alone
            task.to(memory_format=torch.channels_last)
        core = task.core
        assert isinstance(core, nn.Module), "a task has a core"
        recompute_blocks(core, self.grad_checkpointing)
        if self.compile:
            refuse_norms(core, self.grad_checkpointing)
        compile_parts(task, self.compile)

    def build(
        self, folder: Path | None, callbacks: Sequence[Callback], loggers: Sequence[Logger], skips: bool = False
    ) -> pl.Trainer:
        """The trainer; `folder` is the run's, None when nothing is to be written.

        skips: whether a step may leave parameters unused; over several devices strategy=auto then looks for them.
        """
        import pytorch_lightning as pl
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        from glipv2.checkpoint_files import WholeCheckpoints
        from glipv2.ranks import own_environment

        every = self.val_every * self.accumulate or NEVER  # Lightning counts batches here
        settings: dict[str, Any] = {
            "max_steps": self.max_steps,
            "max_epochs": -1,
            "val_check_interval": every,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "accelerator": self.accelerator,
            "devices": self.devices,
            "strategy": self._strategy(),
            "precision": resolved_precision(self.precision, self.accelerator),
            "gradient_clip_val": self.clip or None,
            "accumulate_grad_batches": self.accumulate,
            "log_every_n_steps": self.log_every,
            "enable_progress_bar": self.progress and sys.stdout.isatty(),  # bars make no sense in a file of lines
            "enable_model_summary": False,
            "enable_checkpointing": any(isinstance(c, pl.callbacks.ModelCheckpoint) for c in callbacks),
            "default_root_dir": str(folder) if folder else None,
            "logger": list(loggers) or False,
            "callbacks": list(callbacks),
            "plugins": [WholeCheckpoints(), *own_environment()],
        }
        try:
            trainer = pl.Trainer(**{**settings, **self.options})
            if skips and self.strategy == "auto" and isinstance(trainer.strategy, pl.strategies.DDPStrategy):
                settings["strategy"] = "ddp_find_unused_parameters_true"
                trainer = pl.Trainer(**{**settings, **self.options})
            return trainer
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UserError(f"trainer: Lightning refuses these settings: {' '.join(str(error).split())}") from error

    def _strategy(self) -> Any:
        """What Lightning takes for it."""
        if self.strategy != SHARDED:
            return self.strategy
        from glipv2.sharding import ShardedStrategy

        return ShardedStrategy()
