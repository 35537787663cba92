"""Swin's blocks over the windows of the released code, and in little memory where no gradient is wanted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from torch import Tensor, nn

from glipv2.errors import UserError

BLOCK = 2**20  # numbers of an intermediate result that a CPU holds at once


def use_released_windows(backbone: nn.Module) -> None:
    """Makes timm's Swin attend over the released code's windows: pad first, then shift.

    Padded positions take part in attention there. Equal bit for bit on the released outputs when
    built with strict_img_size=False and always_partition=True.
    """
    blocks = [module for module in backbone.modules() if isinstance(module, SwinTransformerBlock)]
    if not blocks:
        raise UserError("model.image.pad_then_shift: only Swin backbones have windows; switch it off")
    for block in blocks:
        block.__class__ = PadThenShiftBlock


class PadThenShiftBlock(SwinTransformerBlock):  # type: ignore[misc]  # timm has no types
    """timm's block with the order of padding and shifting of the released code.

    Where nothing is kept for a gradient, on a CPU, a block writes over one copy of its map, some rows of windows or
    some positions at once: no window reads what another one writes. Else the map would be held padded, shifted, cut
    into windows and put together again, and four times as wide between the two products of the MLP.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to the same."""
        if self.training or torch.is_grad_enabled() or x.device.type != "cpu" or torch.compiler.is_compiling():
            thought: Tensor = super().forward(x)
            return thought
        x = x.clone(memory_format=torch.contiguous_format)
        self._add_attended(x)
        rows = x.view(-1, x.shape[-1])
        for some in rows.split(max(BLOCK // (4 * rows.shape[1]), 1)):
            some.add_(self.mlp(self.norm2(some)))
        return x

    def _add_attended(self, x: Tensor) -> None:
        """Adds to a map [B, H, W, C] what `_attn` gives of its norm."""
        height, width = self._padded(x.shape[1], x.shape[2])
        (high, wide), (down, right) = self.window_size, self.shift_size
        mask, across = self.get_attn_mask(x.new_empty(1, height, width, 1)), width // wide
        length = max(BLOCK // (4 * high * width * x.shape[3]), 1)  # rows of windows
        for first in range(0, height // high, length):
            last = min(first + length, height // high)
            lines = (torch.arange(first * high, last * high) + down) % height
            inside = lines < x.shape[1]
            own = None if mask is None else mask[first * across : last * across]
            for image in x:
                strip = x.new_zeros(len(lines), width, x.shape[3])
                strip[inside, : x.shape[2]] = self.norm1(image[lines[inside]])
                attended = self._within(strip.roll(-right, 1)[None], own)[0].roll(right, 1)
                image.index_add_(0, lines[inside], attended[inside, : x.shape[2]])

    def _attn(self, x: Tensor) -> Tensor:
        height, width = self._padded(x.shape[1], x.shape[2])
        padded = F.pad(x, (0, 0, 0, width - x.shape[2], 0, height - x.shape[1]))
        shift = tuple(self.shift_size)
        if any(shift):
            padded = torch.roll(padded, (-shift[0], -shift[1]), dims=(1, 2))
        attended = self._within(padded, self.get_attn_mask(padded))
        if any(shift):
            attended = torch.roll(attended, shift, dims=(1, 2))
        cropped: Tensor = attended[:, : x.shape[1], : x.shape[2]]
        return cropped

    def _padded(self, height: int, width: int) -> list[int]:
        """The sides in whole windows, said so that a side that an exporter leaves open stays a plain multiple."""
        return [(side + own - 1) // own * own for side, own in zip((height, width), self.window_size, strict=True)]

    def _within(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attention within the windows of a map [B, H, W, C] that consists of them; mask [K, A, A] of an image's."""
        windows = window_partition(x, self.window_size).view(-1, self.window_area, x.shape[3])
        attended = self.attn(windows, mask=mask).view(-1, *self.window_size, x.shape[3])
        merged: Tensor = window_reverse(attended, self.window_size, *x.shape[1:3])
        return merged
