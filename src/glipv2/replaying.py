"""`glipv2 train replay=FILE`: runs the batch at which a run stopped again, and tells where numbers end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glipv2.checkpoints import task_of
from glipv2.config import TrainConfig
from glipv2.nonfinite import Stopped, read_stopped
from glipv2.report.summary import show_rows
from glipv2.saving import seed_step
from glipv2.tasks.base import Task

log = logging.getLogger(__name__)


@dataclass
class Replayed:
    """Loss terms by name, and the first module, in order of running, whose output is not finite (None = all are)."""

    terms: dict[str, float] = field(default_factory=dict)
    first: str | None = None


def replay(config: TrainConfig, again: str) -> Replayed:
    """With the weights, random numbers and precision of the run; nothing is trained or written."""
    path = Path(again).expanduser()
    stopped = read_stopped(path)
    task = _task(config, stopped)
    trainer = config.trainer.build(None, [], [])
    device = trainer.strategy.root_device
    task.to(device)
    found = Replayed()
    seed_step(config.seed, stopped.number, stopped.rank)
    with trainer.precision_plugin.forward_context(), _watched(task, found):
        report = task.losses(stopped.batch.to(device))
    found.terms = {name: float(value) for name, value in report.terms.items()}
    _tell(stopped, found)
    return found


def _task(config: TrainConfig, stopped: Stopped) -> Task:
    task = task_of(config, stopped.record, "replay")
    task.load_state_dict(dict(stopped.tensors))
    task.train()
    config.trainer.prepare(task)
    return task


@contextmanager
def _watched(task: nn.Module, found: Replayed) -> Iterator[None]:
    """Notes the first module that gives something else than numbers."""

    def look(name: str, output: Any) -> None:
        if found.first is None and not all(map(_is_finite, _tensors(output))):
            found.first = name

    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: look(name, output))
        for name, module in task.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from _tensors(item)
    elif hasattr(output, "__dataclass_fields__"):
        for name in output.__dataclass_fields__:
            yield from _tensors(getattr(output, name))


def _tell(stopped: Stopped, found: Replayed) -> None:
    names = [truth.name for truth in stopped.batch.truth]
    log.info("batch %d of rank %d: %s", stopped.number, stopped.rank, ", ".join(names))
    rows = [["term", "then", "now"]]
    for name, value in found.terms.items():
        rows.append([name, f"{stopped.terms.get(name, float('nan')):.6g}", f"{value:.6g}"])
    show_rows(rows)
    if found.first:
        log.info("first output that is not finite: %s", found.first)
    elif all(torch.isfinite(torch.tensor(value)) for value in found.terms.values()):
        log.info("every output and every term is finite here: the device or the precision made the difference")
    else:
        log.info("every module's output is finite: the loss itself is not")
