"""The two halves of a detector as plain modules of tensors, written in operations that every runtime has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glipv2.models import Core
from glipv2.models.cross_attention import CrossAttention
from glipv2.models.deformable import TAPS
from glipv2.models.dyconv import ModulatedConv
from glipv2.models.heads.regions import RegionHead
from glipv2.structures import Features, TextBatch


class TextGraph(nn.Module):
    """Token ids to what the detector reads: changes with the vocabulary, not with the image."""

    def __init__(self, core: Core) -> None:
        super().__init__()
        self.text = core.text

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        """token_ids int64 [B, L], token_mask bool [B, L] to tokens [B, L, T]."""
        text = TextBatch(token_ids, token_mask)
        readable = text.readable().expand(-1, token_ids.shape[1], -1)
        return self.text._read(text, readable)


class DetectorGraph(nn.Module):
    """An image and the tokens of a prompt to the region head's raw outputs."""

    def __init__(self, core: Core, regions: RegionHead) -> None:
        super().__init__()
        self.image, self.fusion, self.regions = core.image, core.fusion, regions

    def forward(self, pixels: Tensor, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """pixels [B, 3, H, W] (sides in multiples of 32), tokens [B, L, T], token_mask bool [B, L].

        Alignment logits [B, R, L], box deltas [B, R, 4] and centerness logits [B, R].
        """
        text = TextBatch(token_mask.long(), token_mask)  # the tower asks the text for its mask alone
        levels, fused = self.fusion(self.image(pixels), tokens, text, True)
        found = self.regions(Features(levels, fused, token_mask))
        return found.alignment_logits, found.box_deltas, found.centerness


class FixedGraph(nn.Module):
    """A detector of one vocabulary: an image to raw outputs. The prompt's tokens stand in the graph."""

    def __init__(self, detector: DetectorGraph, tokens: Tensor, token_mask: Tensor) -> None:
        super().__init__()
        self.detector = detector
        self.tokens: Tensor
        self.token_mask: Tensor
        self.register_buffer("tokens", tokens)
        self.register_buffer("token_mask", token_mask)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `DetectorGraph`; the prompt is the same for every image."""
        rows = pixels.shape[0]
        outputs: tuple[Tensor, Tensor, Tensor] = self.detector(
            pixels, self.tokens.expand(rows, -1, -1), self.token_mask.expand(rows, -1)
        )
        return outputs


def sampled_convolution(
    level: Tensor, offsets: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, stride: int
) -> Tensor:
    """A deformable 3×3 convolution with padding 1 by bilinear sampling, for runtimes without such an operation.

    level [B, D, H, W], offsets [B, 18, h, w] as (dy, dx) of each tap, mask [B, 9, h, w]; as torchvision's
    deform_conv2d: nothing lies outside the level.
    """
    batch, _, height, breadth = level.shape
    rows, columns = offsets.shape[-2:]
    taps = torch.arange(3, device=level.device, dtype=level.dtype) - 1
    base_y = torch.arange(rows, device=level.device, dtype=level.dtype) * stride
    base_x = torch.arange(columns, device=level.device, dtype=level.dtype) * stride
    y = offsets[:, 0::2] + taps.repeat_interleave(3)[:, None, None] + base_y[:, None]
    x = offsets[:, 1::2] + taps.repeat(3)[:, None, None] + base_x
    grid = torch.stack([(2 * x + 1) / breadth - 1, (2 * y + 1) / height - 1], dim=-1)
    sampled = F.grid_sample(level, grid.flatten(1, 2), mode="bilinear", padding_mode="zeros", align_corners=False)
    sampled = sampled.unflatten(2, (TAPS, -1))  # [B, D, 9, h, w]
    if mask is not None:
        sampled = sampled * mask[:, None]
    columns_of = sampled.flatten(1, 2).flatten(2)  # [B, D · 9, h · w]
    product = weight.flatten(1) @ columns_of
    found: Tensor = product.view(batch, weight.shape[0], rows, columns)
    return found if bias is None else found + bias[:, None, None]


def _modulated(own: ModulatedConv, level: Tensor, offsets: Tensor | None, mask: Tensor | None) -> Tensor:
    """`ModulatedConv.forward` in plain operations."""
    if offsets is None:
        return own.norm(F.conv2d(level, own.weight, own.bias, own.stride, padding=1))  # type: ignore[no-any-return]
    return own.norm(sampled_convolution(level, offsets, mask, own.weight, own.bias, own.stride))  # type: ignore[no-any-return]


@contextmanager
def plain_operations(model: nn.Module) -> Iterator[None]:
    """Inside, a model computes the same by operations of the ONNX standard, in one way for every size."""
    convolutions = [module for module in model.modules() if isinstance(module, ModulatedConv)]
    for module in convolutions:
        module.forward = partial(_modulated, module)  # type: ignore[method-assign]
    try:
        with mock.patch.object(CrossAttention, "folds", lambda *_: True):  # decided by sizes, which a graph leaves open
            yield
    finally:
        for module in convolutions:
            del module.forward
