"""Modulated deformable 3×3 convolution: rows gathered with four weights each, then one product.

torchvision's kernel samples channel by channel. Where pixels are rows of channels, a sample is a weighted sum of
four rows, which `embedding_bag` forms at the speed of the memory, and all taps of many positions meet the weights
in one matrix product. Positions come in blocks that stay in the cache: nothing of nine times the map is ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from glipv2.kernels import Sampling

TAPS = 9
CORNERS = 4  # of a sampled point
BLOCK = {"cpu": 2**21, "other": 2**26}  # values sampled at once, taps · channels · positions


def deformed(
    level: Tensor, offsets: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, stride: int,
    sampling: Sampling = Sampling.AUTO,
) -> Tensor:  # fmt: skip
    """level [B, C, H, W] convolved to [B, O, h, w] with weight [O, C, 3, 3] and padding 1.

    offsets [B, 18, h, w]: (dy, dx) of each tap in pixels; mask [B, 9, h, w] multiplies what a tap reads. Outside
    the level everything is 0.
    """
    way = sampling.on(level.device)
    if way is Sampling.TORCHVISION:
        whole: Tensor = deform_conv2d(level, offsets, weight, bias, stride=stride, padding=1, mask=mask)
        return whole
    grid = Grid(level.shape[0], (level.shape[2], level.shape[3]), (offsets.shape[2], offsets.shape[3]), stride)
    rows, moved, kept = (_rows(values) for values in (level, offsets, mask))
    taps = weight.permute(0, 2, 3, 1).flatten(1)
    if way is Sampling.COMPILED:
        found = _compiled()(rows, moved, kept, taps, bias, grid)
    else:
        found = _Gathered.apply(rows, moved, kept, taps, bias, grid)
    return found.view(grid.batch, *grid.output, -1).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Grid:
    """Sizes (height, width) of the maps of a batch that a convolution reads and writes."""

    batch: int
    input: tuple[int, int]
    output: tuple[int, int]
    stride: int

    @property
    def positions(self) -> int:
        """Of the output, over the batch."""
        return self.batch * self.output[0] * self.output[1]

    def centres(self, like: Tensor) -> Tensor:
        """(y, x) of every tap of every position before it is moved, [h · w, 9, 2]."""
        y, x = (torch.arange(side, device=like.device) * self.stride for side in self.output)
        reach = torch.arange(-1, 2, device=like.device)
        rows = (y[:, None] + reach)[:, None, :, None].expand(-1, len(x), -1, 3)
        columns = (x[:, None] + reach)[None, :, None, :].expand(len(y), -1, 3, -1)
        return torch.stack([rows, columns], dim=-1).reshape(-1, TAPS, 2).to(like.dtype)

    def first_rows(self, device: torch.device) -> Tensor:
        """Where the image of every position begins among the input's rows, int32 [B · h · w]."""
        starts = torch.arange(self.batch, device=device, dtype=torch.int32) * (self.input[0] * self.input[1])
        return starts.repeat_interleave(self.output[0] * self.output[1])


@dataclass(frozen=True)
class Corners:
    """The four pixels around sampled points, P of nine taps each.

    rows int32 [P, 9, 2, 2] (y, x) among the input's rows; shares [P, 9, 2, 2]: of each pixel in the point, 0
    outside the map; fractions [P, 9, 2]: of the point between its corners; inside [P, 9, 2, 2]: (axis, corner),
    1 for lines of the map, 0 beyond it.
    """

    rows: Tensor
    shares: Tensor
    fractions: Tensor
    inside: Tensor


def corners(offsets: Tensor, centres: Tensor, first_rows: Tensor, size: tuple[int, int]) -> Corners:
    """Of points moved by offsets [P, 18] from centres [P, 9, 2] on maps of size (height, width)."""
    limits = offsets.new_tensor(size)
    # a point further out reads nothing either, and its whole-number part stays within int32
    points = torch.minimum((centres + offsets.unflatten(1, (TAPS, 2))).clamp(min=-2), limits + 1)
    low = points.floor()
    fractions = points - low
    lines = torch.stack([low, low + 1], dim=-1)  # [P, 9, axis, corner]
    inside = ((lines >= 0) & (lines < limits[:, None])).to(offsets.dtype)
    near = torch.stack([1 - fractions, fractions], dim=-1) * inside
    shares = near[:, :, 0, :, None] * near[:, :, 1, None, :]
    whole = torch.minimum(lines.clamp_(min=0), limits[:, None] - 1).int()
    # the clamp also tames what "not a number" became: no row outside the map is ever read
    y, x = whole[:, :, 0].clamp_(0, size[0] - 1) * size[1], whole[:, :, 1].clamp_(0, size[1] - 1)
    rows = (y + first_rows[:, None, None])[..., :, None] + x[..., None, :]
    return Corners(rows, shares, fractions, inside)


def plainly(rows: Tensor, offsets: Tensor, mask: Tensor, taps: Tensor, bias: Tensor, grid: Grid) -> Tensor:
    """The convolution as it is usually written, from rows: what `_Gathered` is held against and compilers fuse."""
    centres = grid.centres(rows).repeat(grid.batch, 1, 1)
    found = corners(offsets, centres, grid.first_rows(rows.device), grid.input)
    shares = found.shares.flatten(2) * mask[..., None]
    sampled = (rows[found.rows.flatten(2).long()] * shares[..., None]).sum(dim=2)  # [P, 9, C]
    return F.linear(sampled.flatten(1), taps, bias)


@cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(plainly, dynamic=False)


class _Gathered(torch.autograd.Function):
    """The same in blocks, its backward pass written out: samples are taken again instead of being kept."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, offsets: Tensor, mask: Tensor, taps: Tensor, bias: Tensor, grid: Grid
    ) -> Tensor:
        ctx.save_for_backward(rows, offsets, mask, taps)
        ctx.grid = grid
        output = rows.new_empty(grid.positions, taps.shape[0])
        for part, found in _blocks(rows, offsets, grid):
            shares = found.shares.flatten(2) * mask[part, :, None]
            torch.addmm(bias, _sampled(rows, found.rows, shares), taps.T, out=output[part])
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, offsets, mask, taps = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_rows, of_taps = torch.zeros_like(rows), torch.zeros_like(taps)
        of_offsets, of_mask = torch.empty_like(offsets), torch.empty_like(mask)
        for part, found in _blocks(rows, offsets, ctx.grid):
            shares = found.shares.flatten(2) * mask[part, :, None]
            of_taps.addmm_(gradient[part].T, _sampled(rows, found.rows, shares))
            of_samples = (gradient[part] @ taps).view(-1, rows.shape[1])  # [P · 9, C]
            _scatter(of_rows, of_samples, found.rows, shares)
            of_shares = _products(rows, of_samples, found.rows).view_as(found.shares)
            of_mask[part] = (of_shares * found.shares).sum(dim=(2, 3))
            of_offsets[part] = (_slopes(found, of_shares) * mask[part, :, None]).flatten(1)
        return of_rows, of_offsets, of_mask, of_taps, gradient.sum(dim=0), None


def _blocks(rows: Tensor, offsets: Tensor, grid: Grid) -> Iterator[tuple[slice, Corners]]:
    """Positions and the corners of their points, so many at once as stay in the cache."""
    most = BLOCK["cpu" if rows.device.type == "cpu" else "other"]
    length = max(most // (TAPS * rows.shape[1]), 1)
    centres, first_rows = grid.centres(rows), grid.first_rows(rows.device)
    centres = centres.expand(grid.batch, -1, -1, -1).flatten(0, 1)
    for start in range(0, grid.positions, length):
        part = slice(start, start + length)
        yield part, corners(offsets[part], centres[part], first_rows[part], grid.input)


def _sampled(rows: Tensor, corner_rows: Tensor, shares: Tensor) -> Tensor:
    """What the taps of P positions read, [P, 9 · C]; shares [P, 9, 4]."""
    bags = F.embedding_bag(corner_rows.view(-1, CORNERS), rows, per_sample_weights=shares.view(-1, CORNERS), mode="sum")
    return bags.view(corner_rows.shape[0], -1)


def _products(rows: Tensor, of_samples: Tensor, corner_rows: Tensor) -> Tensor:
    """Each sample's gradient [P · 9, C] times each of the pixels it was made of, [P · 36]."""
    starts = torch.arange(0, corner_rows.numel(), CORNERS, dtype=torch.int32, device=rows.device)
    bags = torch.arange(len(of_samples), dtype=torch.int32, device=rows.device).repeat_interleave(CORNERS)
    products: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        of_samples, rows, corner_rows.flatten(), starts, bags, 0, -1
    )
    return products


def _scatter(of_rows: Tensor, of_samples: Tensor, corner_rows: Tensor, shares: Tensor) -> None:
    """Adds to each pixel its shares of the samples' gradients, gathered pixel by pixel: none is written twice."""
    pixels, order = corner_rows.flatten().sort()
    touched, counts = torch.unique_consecutive(pixels, return_counts=True)
    samples = torch.div(order, CORNERS, rounding_mode="floor")
    sums = F.embedding_bag(
        samples, of_samples, counts.cumsum(0) - counts, per_sample_weights=shares.flatten()[order], mode="sum"
    )
    touched = touched.long()
    of_rows[touched] = of_rows[touched] + sums


def _slopes(found: Corners, of_shares: Tensor) -> Tensor:
    """What moving a point by (dy, dx) changes, [P, 9, 2], from the gradients of its corners' shares."""
    step = torch.stack([-found.inside[..., 0], found.inside[..., 1]], dim=-1)  # of each line's nearness
    near = torch.stack([1 - found.fractions, found.fractions], dim=-1) * found.inside
    along_y = (of_shares * step[:, :, 0, :, None] * near[:, :, 1, None, :]).sum(dim=(2, 3))
    along_x = (of_shares * near[:, :, 0, :, None] * step[:, :, 1, None, :]).sum(dim=(2, 3))
    return torch.stack([along_y, along_x], dim=-1)


def _rows(maps: Tensor) -> Tensor:
    """[B, C, H, W] as one row a pixel, [B · H · W, C]; no copy where channels come last in memory already."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).contiguous()
