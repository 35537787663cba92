"""How large a model is and what its training steps take, from its config alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from glipv2.config import TrainConfig
from glipv2.finetuning.fitting import ADAM, StepCost
from glipv2.models import Parts
from glipv2.models.recompute import PARTS, recompute_blocks
from glipv2.planning.largest import LargestBatch
from glipv2.planning.standins import ImaginedCore
from glipv2.tasks.base import Task

PART_NAMES = {
    "core.image.backbone.": "image backbone", "core.image.": "image pyramid", "core.text.": "text encoder",
    "core.fusion.": "fusion",
}  # fmt: skip


@dataclass(frozen=True)
class PartSize:
    """Parameters of a part, in ones, and how many of them are trained."""

    name: str
    parameters: int
    trained: int


@dataclass(frozen=True)
class Way:
    """One way of running a step."""

    precision: str
    recomputed: bool

    def __str__(self) -> str:
        return f"{self.precision}, blocks {'recomputed' if self.recomputed else 'kept'}"


@dataclass(frozen=True)
class Footprint:
    """Of one way: bytes an image adds, and bytes that are there whatever the batch (weights, gradients, moments)."""

    way: Way
    per_image: int
    besides: int

    @property
    def cost(self) -> StepCost:
        """What a batch is chosen by."""
        return StepCost(self.per_image, self.besides, float("nan"), "the device")


def part_sizes(task: nn.Module) -> list[PartSize]:
    """The parts of a task in the order of its parameters; a head goes by its own name."""
    found: dict[str, list[int]] = {}
    for name, parameter in task.named_parameters():
        known = next((title for start, title in PART_NAMES.items() if name.startswith(start)), None)
        row = found.setdefault(known or f"head: {name.partition('.')[0]}", [0, 0])
        row[0] += parameter.numel()
        row[1] += parameter.numel() * parameter.requires_grad
    return [PartSize(name, *row) for name, row in found.items()]


def planned_task(config: TrainConfig, answers: Sequence[str]) -> Task:
    """The task with everything frozen or added that training would: its core stores nothing, its heads are real."""
    model = config.tune.prepared(config.model)
    with torch.device("meta"):
        core = model.build_core()
    parts = Parts(model, answers)
    parts.core = core
    task = config.task.assemble(parts, config.loss)
    config.tune.apply(task)
    config.optim.freeze(task)
    task.core.to("meta")  # what tuning added to it  # type: ignore[operator]
    return task.train()


def footprints(
    config: TrainConfig, batches: Sequence[LargestBatch], answers: Sequence[str], precisions: Sequence[str], device: str
) -> Iterator[Footprint]:
    """For each precision, with blocks kept and recomputed; of several tasks the one that takes most counts.

    device: the kind whose rules of automatic precision hold. Bytes come from two batches, of one image and of two:
    what they differ by is an image's share, the rest is there anyway.
    """
    for precision in precisions:
        kept, block = _measured(config, batches, answers, Way(precision, False), device)
        yield _footprint(config, answers, Way(precision, False), kept)
        kept, _ = _measured(config, batches, answers, Way(precision, True), device)
        yield _footprint(config, answers, Way(precision, True), {n: own + block[n] for n, own in kept.items()})


def _measured(
    config: TrainConfig, batches: Sequence[LargestBatch], answers: Sequence[str], way: Way, device: str
) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """Bytes that a step keeps by its number of images, and those of its largest block."""
    task = planned_task(config, answers)
    recompute_blocks(task.core, PARTS if way.recomputed else ())  # type: ignore[arg-type]
    core = ImaginedCore(task.core, device, way.precision)  # type: ignore[arg-type]
    if not way.recomputed:
        core.watch_blocks()
    subtasks = task.subtasks()
    kept: dict[int, int] = {}
    block: dict[int, int] = {}
    for batch in batches:
        for images in (1, 2):
            with core.counting(task):
                total = subtasks[batch.task].losses(batch.of(images)).total
            del total
            kept[images] = max(kept.get(images, 0), core.kept.bytes)
            block[images] = max(block.get(images, 0), core.largest_block)
    return kept, block


def _footprint(config: TrainConfig, answers: Sequence[str], way: Way, kept: Mapping[int, int]) -> Footprint:
    per_image = kept[2] - kept[1]
    return Footprint(way, per_image, standing_bytes(planned_task(config, answers), config) + kept[1] - per_image)


def standing_bytes(task: nn.Module, config: TrainConfig) -> int:
    """Weights, buffers, their average where one is kept, gradients and the optimiser's moments."""
    tensors = [*task.parameters(), *task.buffers()]
    whole = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    trained = sum(own.numel() * own.element_size() for own in task.parameters() if own.requires_grad)
    return whole * (2 if config.trainer.ema else 1) + ADAM * trained


def measurable(config: TrainConfig) -> TrainConfig:
    """The config with a model that needs no file."""
    return replace(config, model=config.model.without_files())
