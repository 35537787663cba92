"""Optimiser and learning-rate schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from glipv2.errors import UserError, nearest
from glipv2.models.recompute import blocks_of
from glipv2.ranges import at_least, within

SCHEDULES = ("cosine", "steps", "constant", "trapezoid")
LAST_PART = 0.2  # of a trapezoid


@dataclass
class OptimConfig:
    """AdamW with warm-up.

    text_lr_factor and image_lr_factor: learning rate of the text encoder and of the image backbone relative to
    `lr`; 0 freezes that part. lr_factors: the same for parameters whose names begin with a key ("chooser",
    "core.fusion"; the longest counts, and overrules the former two). schedule: "cosine" to `final_lr_factor`,
    "steps" (×0.1 at 67 % and 89 %, as GLIP's recipe), "constant", or "trapezoid": the whole rate until the last
    fifth, in which it falls in a straight line to `final_lr_factor`; from a checkpoint before that a run may be
    resumed with more steps as if it had been planned so. warmup_steps count from 0. Norms and
    biases get no decay. layer_decay: what the learning rate falls by with each layer of an encoder below its last
    (1 = all layers learn alike).
    """

    lr: float = at_least(0, 1e-4)
    text_lr_factor: float = at_least(0, 0.1)
    image_lr_factor: float = at_least(0, 1.0)
    lr_factors: dict[str, float] = field(default_factory=dict)
    weight_decay: float = at_least(0, 1e-4)
    betas: list[float] = within(0, 0.999999, [0.9, 0.999], length=2)
    schedule: str = "cosine"
    warmup_steps: int = at_least(0, 100)
    final_lr_factor: float = at_least(0, 0.0)
    layer_decay: float = 1.0

    def check(self) -> None:
        """UserError for a schedule that does not exist."""
        if self.schedule not in SCHEDULES:
            raise UserError(f"optim.schedule: no schedule '{self.schedule}'; {nearest(self.schedule, SCHEDULES)}")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"optim.layer_decay: expected a factor above 0 and up to 1, but got {self.layer_decay}")

    def freeze(self, module: nn.Module) -> None:
        """Takes parts with a learning rate of 0 out of training: no gradients, no optimiser state."""
        for name, parameter in module.named_parameters():
            if self._lr_factor(name) == 0:
                parameter.requires_grad_(False)

    def build(self, module: nn.Module, total_steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Optimiser over the trainable parameters of `module`, and its schedule in steps."""
        optimizer = torch.optim.AdamW(
            self._groups(module), lr=self.lr, betas=(self.betas[0], self.betas[1]), **_kernel_for(module)
        )
        # it could undo a scaler's factor itself, for which Lightning refuses to clip; the scaler does it as well
        optimizer._step_supports_amp_scaling = False
        return optimizer, LambdaLR(optimizer, lambda step: self.factor(step, total_steps))

    def factor(self, step: int, total_steps: int) -> float:
        """The schedule's factor on every learning rate at a step."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min((step - self.warmup_steps) / max(total_steps - self.warmup_steps, 1), 1.0)
        if self.schedule == "cosine":
            return self.final_lr_factor + (1 - self.final_lr_factor) * (1 + math.cos(math.pi * progress)) / 2
        if self.schedule == "steps":
            return 0.1 ** sum(step / max(total_steps, 1) >= mark for mark in (0.67, 0.89))
        if self.schedule == "trapezoid":
            left = min((1 - step / max(total_steps, 1)) / LAST_PART, 1.0)
            return self.final_lr_factor + (1 - self.final_lr_factor) * max(left, 0.0)
        return 1.0

    def _groups(self, module: nn.Module) -> list[dict[str, object]]:
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        depths = depths_below(module) if self.layer_decay < 1 else {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            factor = self._lr_factor(name) * self.layer_decay ** depths.get(name, 0)
            decay = self.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factor * self.lr, decay), []).append(parameter)
        return [{"params": group, "lr": lr, "weight_decay": decay} for (lr, decay), group in groups.items()]

    def _lr_factor(self, name: str) -> float:
        """Learning rate of a task's parameter relative to `lr`."""
        known = [start for start in self.lr_factors if f"{name}.".startswith(f"{start}.")]
        if known:
            return self.lr_factors[max(known, key=len)]
        if name.startswith("core.text."):
            return self.text_lr_factor
        return self.image_lr_factor if name.startswith("core.image.backbone.") else 1.0


def depths_below(task: nn.Module) -> dict[str, int]:
    """How many layers of its encoder lie above each of the encoders' parameters; embeddings are below all layers."""
    found: dict[str, int] = {}
    modules = dict(task.named_modules())
    for prefix in ("core.image.backbone", "core.text"):
        encoder = modules[prefix]
        blocks = list(blocks_of(encoder))
        own = {id(parameter): place for place, block in enumerate(blocks, start=1) for parameter in block.parameters()}
        reached = 0
        for name, parameter in encoder.named_parameters():
            reached = max(reached, own.get(id(parameter), 0))  # what stands between two layers goes with the lower
            found[f"{prefix}.{name}"] = len(blocks) - own.get(id(parameter), reached)
    return found


def _kernel_for(module: nn.Module) -> dict[str, bool]:
    """One kernel for all of a step where the devices have one: a third of the time of separate operations on a CPU."""
    devices = {parameter.device.type for parameter in module.parameters()}
    return {"fused": True} if devices <= set(_get_fused_kernels_supported_devices()) else {"foreach": True}
