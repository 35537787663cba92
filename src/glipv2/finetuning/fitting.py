"""How many images fit a step: measured on a step of two of them, not guessed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glipv2.activations import Kept
from glipv2.errors import UserError

SHARE = 0.6  # of the free memory that activations may take: kernels need some more, and images differ
ADAM = 3  # tensors beside each trained one: gradient and two moments
CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class StepCost:
    """Of a training step: bytes that each image keeps for the backward pass, bytes besides them, seconds an image."""

    bytes_per_image: int
    bytes_besides: int
    seconds_per_image: float
    device: str


def step_cost(task: Any, batches: Iterable[Any], device: torch.device) -> StepCost:
    """Runs forward and backward on each batch: the most that one image keeps, and the fastest of the times."""
    task = task.to(device)
    images, seconds = 0, float("inf")
    for batch in batches:
        own = batch.to(device)
        started = time.perf_counter()
        kept = Kept(task)
        with kept.counting():
            loss: Tensor = task.losses(own).total
        loss.backward()
        if not bool(torch.isfinite(loss)):
            raise UserError(f"the first loss is {loss.item()}; these weights and this data don't go together")
        seconds = min(seconds, (time.perf_counter() - started) / len(own))
        images = max(images, kept.bytes // len(own))
    trained = sum(parameter.numel() * parameter.element_size() for parameter in _trained(task))
    task.zero_grad(set_to_none=True)
    return StepCost(images, ADAM * trained, seconds, str(device))


def _trained(task: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in task.parameters() if parameter.requires_grad]


def free_memory(device: torch.device) -> int:
    """Bytes that a process may still take on a device; on a CPU within the limits of a container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = _entry(Path("/proc/meminfo"), "MemAvailable:")
    try:
        limit = int(CGROUP.read_text("ascii"))
    except (OSError, ValueError):  # no container, or one without a limit
        return free
    return min(free, limit)


def _entry(path: Path, name: str) -> int:
    try:
        lines = path.read_text("ascii").splitlines()
    except OSError:
        return 4 * 2**30  # not Linux: what a small laptop has to spare
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), 4 * 2**30)


def images_that_fit(cost: StepCost, free: int) -> int:
    """How many images of a step find room in so many bytes; 0 when not even one does."""
    return max(0, int((SHARE * free - cost.bytes_besides) // max(cost.bytes_per_image, 1)))


def fitting_batch(cost: StepCost, free: int, images: int, wanted: int) -> int:
    """The largest power of two that fits, at most `wanted` and half of the training images; at least one.

    UserError when a single image does not fit.
    """
    fits = images_that_fit(cost, free)
    if fits < 1:
        raise UserError(
            f"a step on one image keeps {cost.bytes_per_image / 2**30:.1f} GiB, and training "
            f"{cost.bytes_besides / 2**30:.1f} GiB more, but {cost.device} has {free / 2**30:.1f} GiB free; "
            f"try tune=prompt, trainer.precision=bf16-mixed, or set data.batch_size=1 to try anyway"
        )
    most = max(1, min(fits, wanted, images // 2))
    return 1 << (most.bit_length() - 1)
