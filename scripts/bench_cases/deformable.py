"""Deformable convolution, forward and backward: torchvision's kernel, gathered rows, compiled, a plain convolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench_cases.bench import Bench
from bench_cases.clock import Work
from bench_cases.result import Row, ratio_row, skipped, time_rows
from glipv2.kernels import Sampling
from glipv2.models.deformable import TAPS, deformed
from glipv2.models.dyconv import OFFSETS, ModulatedConv

SIZES = ((16, 128, 16, 16), (1, 256, 100, 168))  # [B, D, H, W]
TINY = ((1, 32, 4, 6),)


@dataclass(frozen=True)
class Inputs:
    """level [B, D, H, W], offsets [B, 18, H, W], mask [B, 9, H, W], all with gradients; grad as the output."""

    level: Tensor
    offsets: Tensor
    mask: Tensor
    grad: Tensor


def deformable(bench: Bench) -> Iterator[Row]:
    """Both sizes of the requirement; the bound is for CPUs."""
    for size in TINY if bench.tiny else SIZES:
        yield from _at(bench, size)


def _at(bench: Bench, size: tuple[int, ...]) -> Iterator[Row]:
    batch, width, height, breadth = size
    conv = ModulatedConv(width, 1, 16).to(bench.device)
    given = _inputs(size, bench.device)

    def sampled(way: Sampling) -> Callable[[], Tensor]:
        return lambda: deformed(given.level, given.offsets, given.mask, conv.weight, conv.bias, 1, way)

    ways = {way.value: sampled(way) for way in (Sampling.TORCHVISION, Sampling.GATHER)}
    ways["plain convolution"] = lambda: F.conv2d(given.level, conv.weight, conv.bias, padding=1)
    with torch.no_grad():
        difference = float((ways["gather"]() - ways["torchvision"]()).abs().max())
    shape = f"{batch}×{width}×{height}×{breadth}"
    try:
        sampled(Sampling.COMPILED)().backward(given.grad)
        ways["compiled"] = sampled(Sampling.COMPILED)
    except Exception as error:  # a machine without a compiler says so in many ways
        yield skipped("deformable", f"{shape}: compiled", f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
    with torch.no_grad():
        yield from time_rows("deformable", f"{shape}, forward", bench.times(ways))
    times = bench.times({name: _trained(way, given.grad) for name, way in ways.items()})
    cpu = {} if bench.on_gpu else {"must": 0.25, "aim": 0.12}
    yield ratio_row(
        "required", f"deformable convolution, forward and backward, {shape}, gather against torchvision", times,
        "gather", "torchvision", note=f"largest difference {difference:.1e}", **cpu,
    )  # fmt: skip
    yield from time_rows("deformable", f"{shape}, forward and backward", times)


def _inputs(size: tuple[int, ...], device: torch.device) -> Inputs:
    batch, _, height, width = size
    level = torch.randn(size, device=device, requires_grad=True)
    offsets = torch.randn(batch, OFFSETS, height, width, device=device, requires_grad=True)
    mask = torch.rand(batch, TAPS, height, width, device=device, requires_grad=True)
    return Inputs(level, offsets, mask, torch.randn(size, device=device))


def _trained(way: Callable[[], Tensor], grad: Tensor) -> Work:
    """Forward and backward; gradients of the inputs are computed, and add up unread."""
    return lambda: way().backward(grad)
