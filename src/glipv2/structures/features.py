"""What the core and the region head hand on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from glipv2.structures.batches import TensorStruct


@dataclass(frozen=True)
class Features(TensorStruct):
    """An image pyramid and the tokens of its prompt.

    levels: one [B, D, H_l, W_l] a pyramid level, finest first; tokens [B, L, T];
    token_mask bool [B, L], True = a real token.
    """

    levels: tuple[Tensor, ...]
    tokens: Tensor
    token_mask: Tensor

    def part(self, rows: slice, length: int) -> Features:
        """Some of the rows, with the first `length` tokens; nothing is copied."""
        return Features(
            tuple(level[rows] for level in self.levels), self.tokens[rows, :length], self.token_mask[rows, :length]
        )


@dataclass(frozen=True)
class FusedFeatures(TensorStruct):
    """The same features before and after image and text have read each other."""

    before: Features
    after: Features


@dataclass(frozen=True)
class RegionOutputs(TensorStruct):
    """Raw outputs of the region head; R regions over all levels, finest first.

    alignment_logits [B, R, L] region × token; box_deltas [B, R, 4] on `anchors`; centerness [B, R]
    logits; anchors [R, 4] xyxy in the model-input frame; level_sizes: regions of each level (sum R).
    """

    alignment_logits: Tensor
    box_deltas: Tensor
    centerness: Tensor
    anchors: Tensor
    level_sizes: tuple[int, ...]
