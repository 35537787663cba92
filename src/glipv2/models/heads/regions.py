"""The region head: from fused features to boxes that match words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glipv2.models.fusion import flatten_levels
from glipv2.ranges import at_least
from glipv2.structures import BoxConvention, Features, RegionOutputs

PRIOR = 0.01  # alignment probability before training, so that the many negatives don't swamp the first steps


@dataclass
class RegionHeadConfig:
    """Anchors and scaling of the region head.

    first_stride: of the finest level; anchor_scale: anchor side / stride; log_scale: start of the
    learned logarithm that divides the alignment logits; inclusive_boxes, last_pixels: the released "+1" within the
    model and at its doors, see `BoxConvention`; fused_words: words are read after fusion (False only for GLIP-T (A)).
    """

    first_stride: int = at_least(1, 8)
    anchor_scale: float = at_least(0.1, 8.0)
    log_scale: float = 0.0
    inclusive_boxes: bool = False
    last_pixels: bool = False
    fused_words: bool = True

    @property
    def boxes(self) -> BoxConvention:
        """How this head's boxes are measured."""
        return BoxConvention(self.inclusive_boxes, self.last_pixels)

    def build(self, image_width: int, text_width: int, levels: int) -> RegionHead:
        """The head for `levels` pyramid levels of `image_width` and tokens of `text_width` channels."""
        return RegionHead(self, image_width, text_width, levels)


class RegionHead(nn.Module):
    """One region a pyramid position: box deltas, centerness, and an alignment logit for every token."""

    def __init__(self, config: RegionHeadConfig, image_width: int, text_width: int, levels: int) -> None:
        super().__init__()
        self.config = config
        self.box_deltas = nn.Conv2d(image_width, 4, 1)
        self.centerness = nn.Conv2d(image_width, 1, 1)
        for convolution in (self.box_deltas, self.centerness):
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        self.level_scales = nn.Parameter(torch.ones(levels))
        self.words = nn.Linear(text_width, image_width)
        self.word_bias = nn.Parameter(torch.zeros(text_width))
        self.prior_bias = nn.Parameter(torch.tensor(-math.log((1 - PRIOR) / PRIOR)))
        self.log_scale = nn.Parameter(torch.tensor(config.log_scale))

    def forward(self, features: Features) -> RegionOutputs:
        """Raw outputs for every position of every level, in the head's own precision whatever autocast says."""
        levels = features.levels
        with torch.autocast(levels[0].device.type, enabled=False):
            rows = flatten_levels(tuple(level.to(self.words.weight.dtype) for level in levels))
            deltas = torch.cat(
                [
                    F.linear(part, self.box_deltas.weight.flatten(1), self.box_deltas.bias) * scale
                    for part, scale in zip(rows.split(_level_sizes(levels), dim=1), self.level_scales, strict=True)
                ],
                dim=1,
            )
            centerness = F.linear(rows, self.centerness.weight.flatten(1), self.centerness.bias)[..., 0]
            tokens = features.tokens.to(self.words.weight.dtype)
            if not self.config.fused_words:  # as released without fusion: padding has no words
                tokens = tokens * features.token_mask[..., None]
            logits = self._alignment(rows, tokens)
        return RegionOutputs(logits, deltas, centerness, self.anchors(levels), tuple(_level_sizes(levels)))

    def _alignment(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """region · W(ê/2) / exp(log_scale) + ê · b + b0 with ê the normalised token; clamped as released."""
        normalized = F.normalize(tokens, dim=-1)
        words = self.words(normalized / 2)
        bias = normalized @ self.word_bias + self.prior_bias
        logits = rows @ words.transpose(1, 2) / self.log_scale.exp() + bias[:, None, :]
        clamped: Tensor = logits.clamp(min=-50_000, max=50_000)
        return clamped

    def anchors(self, levels: tuple[Tensor, ...]) -> Tensor:
        """One square anchor a position, [R, 4] xyxy, row-major, finest level first."""
        parts = []
        for index, level in enumerate(levels):
            stride = self.config.first_stride * 2**index
            cell = self.config.boxes.cell_anchor(self.config.anchor_scale * stride, stride)
            rows = torch.arange(level.shape[-2], device=level.device) * stride
            columns = torch.arange(level.shape[-1], device=level.device) * stride
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            parts.append(torch.stack([x, y, x, y], dim=-1).flatten(0, 1) + torch.tensor(cell, device=level.device))
        return torch.cat(parts)


def _level_sizes(levels: tuple[Tensor, ...]) -> list[int]:
    return [level.shape[-2] * level.shape[-1] for level in levels]
