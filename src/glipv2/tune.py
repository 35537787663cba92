"""What of a model is trained: all of it, its heads, its prompts, or low-rank updates."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from glipv2.errors import UserError
from glipv2.models import ModelConfig
from glipv2.ranges import at_least

log = logging.getLogger(__name__)

UPDATED = ".parametrizations.weight."  # what torch puts between a module and the parts of its parametrized weight


@dataclass
class TuneConfig:
    """`tune=full`: everything is trained. adds: tensors of the core that weights from before don't have."""

    name: ClassVar[str] = "full"
    adds: ClassVar[tuple[str, ...]] = ()

    def check(self, shuffled_prompts: bool) -> None:
        """UserError where the rest of the config stands against it."""

    def prepared(self, model: ModelConfig) -> ModelConfig:
        """The model's config with what this way of tuning adds to it."""
        return model

    def apply(self, task: nn.Module) -> None:
        """Chooses the trainable parameters of a task whose weights are loaded."""

    def merge(self, task: nn.Module) -> None:
        """Leaves a plain model behind, after training and before its weights are written."""


@dataclass
class LinearTuneConfig(TuneConfig):
    """`tune=linear`: the heads alone; the core, whose features they read, stays as it is (linear probing)."""

    name: ClassVar[str] = "linear"

    def apply(self, task: nn.Module) -> None:
        """Everything but `core.` stays trainable."""
        _train_only(task, [name for name, _ in task.named_parameters() if not name.startswith("core.")])


@dataclass
class PromptTuneConfig(TuneConfig):
    """`tune=prompt`: only an offset to each token's text feature is learned (the released prompt tuning).

    Offsets belong to positions of the prompt, so names must come in one order: it is refused with
    data.prompts.shuffle. tokens: positions that have one.
    """

    name: ClassVar[str] = "prompt"
    adds: ClassVar[tuple[str, ...]] = ("core.text.offsets",)
    tokens: int = at_least(1, 256)

    def check(self, shuffled_prompts: bool) -> None:
        """Names must keep their places."""
        if shuffled_prompts:
            raise UserError(
                "tune=prompt learns an offset for each position of the prompt, so names must keep their places; "
                "set data.prompts.shuffle=false data.prompts.max_names=0 data.prompts.full_probability=1 "
                "data.prompts.leave_out=0"
            )

    def prepared(self, model: ModelConfig) -> ModelConfig:
        """The text encoder gets its offsets, which start at 0."""
        return replace(model, text=replace(model.text, learned_offsets=self.tokens))

    def apply(self, task: nn.Module) -> None:
        """Nothing but the offsets is trained."""
        _train_only(task, self.adds)


@dataclass
class LoraTuneConfig(TuneConfig):
    """`tune=lora`: low-rank updates of linear maps, merged into them at the end; heads are trained too.

    rank, alpha: W + alpha / rank · B A. modules: parts of the core whose linear maps get one.
    """

    name: ClassVar[str] = "lora"
    rank: int = at_least(1, 8)
    alpha: float = at_least(0, 16.0)
    modules: list[str] = field(default_factory=lambda: ["core.text", "core.fusion"])

    def apply(self, task: nn.Module) -> None:
        """Adds the updates; the core's own weights are frozen."""
        _train_only(task, [name for name, _ in task.named_parameters() if not name.startswith("core.")])
        changed = list(_linear_maps(task, self.modules))
        if not changed:
            raise UserError(
                f"tune.modules: no linear map under {', '.join(self.modules)}; try core.text or core.fusion"
            )
        for module in changed:
            update = LowRankUpdate(module.weight, self.rank, self.alpha)
            parametrize.register_parametrization(module, "weight", update)

    def merge(self, task: nn.Module) -> None:
        """Adds the updates to the maps they belong to."""
        for module in list(task.modules()):
            if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


class LowRankUpdate(nn.Module):
    """weight + alpha / rank · B A, equal to the weight at the start (B is 0)."""

    scale: Tensor

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        rank = min(rank, rows, columns)
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.register_buffer("scale", torch.tensor(alpha / rank))  # a checkpoint's tensors say all of the update

    def forward(self, weight: Tensor) -> Tensor:
        return _updated(weight, self.up, self.down, self.scale)


def _updated(weight: Tensor, up: Tensor, down: Tensor, scale: Tensor) -> Tensor:
    return weight + scale * (up @ down)


def plain_weights(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of a model without low-rank updates, from a checkpoint that was written while they were trained."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        place, mark, part = name.partition(UPDATED)
        if not mark:
            found[name] = tensor
        elif part == "original":
            up, down, scale = (tensors[f"{place}{mark}0.{own}"] for own in ("up", "down", "scale"))
            found[f"{place}.weight"] = _updated(tensor, up, down, scale)
    return found


def _linear_maps(task: nn.Module, prefixes: Sequence[str]) -> Iterable[nn.Linear]:
    for name, module in task.named_modules():
        if isinstance(module, nn.Linear) and any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes):
            yield module


def _train_only(task: nn.Module, names: Iterable[str]) -> None:
    trained = set(names)
    for name, parameter in task.named_parameters():
        parameter.requires_grad_(name in trained)
    if not any(parameter.requires_grad for parameter in task.parameters()):
        raise UserError("nothing is left to train; choose another tune=")


def trainable_parameters(task: nn.Module) -> str:
    """For people: "0.07 of 3.57 M parameters are trained (core.text.offsets)"."""
    own = {name: parameter.numel() for name, parameter in task.named_parameters() if parameter.requires_grad}
    total = sum(parameter.numel() for parameter in task.parameters())
    parts = sorted({".".join(name.split(".")[:2]) for name in own})
    shown = ", ".join(parts[:6]) + (", …" if len(parts) > 6 else "")
    return f"{sum(own.values()) / 1e6:.3f} of {total / 1e6:.2f} M parameters are trained ({shown})"
