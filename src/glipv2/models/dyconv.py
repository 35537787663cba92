"""DyConv: each pyramid level mixes itself with its neighbours (DyHead, as in the released GLIP tower)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glipv2.kernels import Sampling
from glipv2.models.deformable import TAPS, deformed

OFFSETS = 18  # (dy, dx) of the nine taps


class ModulatedConv(nn.Module):
    """3×3 convolution followed by GroupNorm, deformable when offsets are given.

    Parameter layout and start as in the released ModulatedDeformConv.
    """

    def __init__(self, width: int, stride: int, groups: int, sampling: Sampling = Sampling.AUTO) -> None:
        super().__init__()
        self.stride = stride
        self.sampling = sampling
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        self.bias = nn.Parameter(torch.zeros(width))
        self.norm = nn.GroupNorm(groups, width)
        bound = 1 / math.sqrt(TAPS * width)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, level: Tensor, offsets: Tensor | None, mask: Tensor | None) -> Tensor:
        """level [B, D, H, W] to [B, D, ceil(H / stride), ceil(W / stride)]."""
        if offsets is None or mask is None:
            return self.norm(F.conv2d(level, self.weight, self.bias, self.stride, padding=1))  # type: ignore[no-any-return]
        with torch.autocast(level.device.type, enabled=False):  # sampling positions need float32, as released
            own = self.weight.dtype
            sampled = deformed(
                level.to(own), offsets.to(own), mask.to(own), self.weight, self.bias, self.stride, self.sampling
            )
        return self.norm(sampled)  # type: ignore[no-any-return]


def offsets_for(values: Tensor, size: tuple[int, int], reread: bool) -> Tensor:
    """Offsets or masks [B, C, H, W] for a convolution whose output has `size` (height, width).

    A level's offsets also steer the convolutions on its neighbours, and for the coarser one the
    sizes differ. reread=True is the released kernel's behaviour, which imported weights need: it
    reads the same memory as if it had the output's shape. reread=False resizes the maps.
    """
    height, width = size
    if values.shape[-2:] == (height, width):
        return values
    if not reread:
        return F.interpolate(values, size=size, mode="bilinear", align_corners=False)
    batch, channels = values.shape[:2]
    return values.reshape(batch, -1)[:, : channels * height * width].reshape(batch, channels, height, width)


class DynamicReLU(nn.Module):
    """max(a1·x + b1, a2·x + b2) with coefficients from the globally pooled map (DyReLU-B)."""

    def __init__(self, width: int, reduction: int = 4) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, width // reduction)
        self.excite = nn.Linear(width // reduction, 4 * width)

    def forward(self, level: Tensor) -> Tensor:
        pooled = level.mean(dim=(2, 3))
        theta = F.relu6(self.excite(F.relu(self.squeeze(pooled))) + 3) / 6
        slope, shift, other_slope, other_shift = theta[:, :, None, None].chunk(4, dim=1)
        first = torch.addcmul(shift - 0.5, level, 2 * slope)  # (θ - 0.5) · 2 + 1 = 2θ
        second = torch.addcmul(other_shift - 0.5, level, 2 * other_slope - 1)
        return torch.maximum(first, second)


class DyConv(nn.Module):
    """One tower layer on the pyramid: scale-, space- and task-aware attention.

    deformable=False puts plain convolutions in place of the deformable ones (for training on a CPU).
    """

    def __init__(
        self, width: int, groups: int, deformable: bool, reread_offsets: bool, sampling: Sampling = Sampling.AUTO
    ) -> None:
        super().__init__()
        self.reread_offsets = reread_offsets
        self.from_coarser = ModulatedConv(width, 1, groups, sampling)
        self.from_same = ModulatedConv(width, 1, groups, sampling)
        self.from_finer = ModulatedConv(width, 2, groups, sampling)
        self.scale_attention = nn.Conv2d(width, 1, 1)
        nn.init.normal_(self.scale_attention.weight, std=0.01)
        nn.init.zeros_(self.scale_attention.bias)  # type: ignore[arg-type]
        self.relu = DynamicReLU(width)
        self.offset = nn.Conv2d(width, OFFSETS + TAPS, 3, padding=1) if deformable else None

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Levels, finest first, to levels of the same sizes."""
        return tuple(self.relu(self._weighted_mean(self._views(levels, index))) for index in range(len(levels)))

    def _views(self, levels: tuple[Tensor, ...], index: int) -> Iterator[Tensor]:
        """What a level and its neighbours say of it, in its own size, one after the other."""
        level = levels[index]
        offsets, mask = self._offsets(level)
        yield self.from_same(level, offsets, mask)
        if index > 0:
            yield self.from_finer(levels[index - 1], offsets, mask)
        if index + 1 < len(levels):
            coarser = levels[index + 1]
            coarse_size = (coarser.shape[-2], coarser.shape[-1])
            if offsets is not None and mask is not None:
                offsets = offsets_for(offsets, coarse_size, self.reread_offsets)
                mask = offsets_for(mask, coarse_size, self.reread_offsets)
            size = (level.shape[-2], level.shape[-1])
            yield F.interpolate(
                self.from_coarser(coarser, offsets, mask), size=size, mode="bilinear", align_corners=True
            )

    def _offsets(self, level: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if self.offset is None:
            return None, None
        values = self.offset(level)
        return values[:, :OFFSETS], values[:, OFFSETS:].sigmoid()

    def _weighted_mean(self, views: Iterable[Tensor]) -> Tensor:
        """Each view times its attention, added up as they come: no more than one of them is held."""
        total, count = None, 0
        for view in views:
            attention = F.relu6(F.relu(self.scale_attention(view.mean(dim=(2, 3), keepdim=True))) + 3) / 6
            total = view * attention if total is None else torch.addcmul(total, view, attention)
            count += 1
            del view
        assert total is not None, "a level sees itself"
        return total.div_(count)
