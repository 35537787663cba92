"""How fast a machine multiplies matrices, and how long a forward pass would take if it did nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from bench_cases.clock import Work, timed

SIDES = {"cpu": (1024, 1536), "cuda": (4096, 8192)}


@dataclass(frozen=True)
class Product:
    """A square matrix product of random float32 numbers, and how many operations it is."""

    work: Work
    operations: int


def products(device: torch.device) -> list[Product]:
    """Of several sizes: the best of them is what the machine can do."""
    return [_product(side, device) for side in SIDES.get(device.type, SIDES["cuda"])]


def _product(side: int, device: torch.device) -> Product:
    first, second = (torch.randn(side, side, device=device) for _ in range(2))
    return Product(lambda: first @ second, 2 * side**3)


def peak_rate(device: torch.device, rounds: int = 5) -> float:
    """Operations a second of the best product."""
    return max(
        own.operations / min(timed({"product": own.work}, device, rounds, warm_up=2)["product"].seconds)
        for own in products(device)
    )


def operations(work: Callable[[], Any]) -> int:
    """Multiplications and additions in the matrix products and convolutions of a call."""
    counter = FlopCounterMode(display=False, custom_mapping=_deformable())
    with counter:
        work()
    return int(counter.get_total_flops())


def _deformable() -> dict[Any, Any]:
    """A deformable convolution multiplies as often as a plain one does."""
    found: dict[Any, Any] = {}
    with suppress(AttributeError):
        assert torchvision.ops.deform_conv2d  # its import registers the operator
        found[torch.ops.torchvision.deform_conv2d] = _of_deformable
    return found


def _of_deformable(level: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """From the shapes of weight [O, C, 3, 3] and output [B, O, H, W]."""
    batch, _, height, width = out_shape
    return int(2 * batch * height * width * weight[0] * weight[1] * weight[2] * weight[3])
