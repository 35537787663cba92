"""The mask loss: which cells of a box belong to the object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glipv2.losses.ranks import shared_count
from glipv2.ranges import at_least


@dataclass
class MaskLossConfig:
    """weight: of the loss; dice_weight: of the dice loss that joins the cross-entropy (released: 0);
    max_instances: taught an image, drawn at random; jitter: see `jittered`.
    """

    weight: float = at_least(0, 1.0)
    dice_weight: float = at_least(0, 0.0)
    max_instances: int = at_least(1, 16)
    jitter: float = at_least(0, 0.1)


def mask_loss(logits: Tensor, targets: Tensor, config: MaskLossConfig) -> Tensor:
    """Mean over instances of the cells' cross-entropy, and dice where it has weight; 0 without instances.

    logits and targets [K, S, S]; targets in [0, 1], the share of a cell that is object. The entropy of
    the shares themselves is subtracted: it moves no gradient, and a perfect mask then has loss 0.
    """
    logits = logits.float()
    entropy = torch.special.entr(targets) + torch.special.entr(1 - targets)
    each = (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") - entropy).mean(dim=(1, 2))
    if config.dice_weight:
        each = each + config.dice_weight * dice_loss(logits.sigmoid(), targets)
    loss: Tensor = config.weight * each.sum() / shared_count(logits.new_tensor(len(logits)))
    return loss


def dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """1 - 2 · overlap / sum of squares of each mask, [K]; 1 is added to both sides, as for empty masks."""
    overlap = (probabilities * targets).sum(dim=(1, 2))
    total = (probabilities**2 + targets**2).sum(dim=(1, 2))
    return 1 - (2 * overlap + 1) / (total + 1)


def jittered(boxes: Tensor, amount: float, image_sizes: Tensor, luck: Tensor) -> Tensor:
    """Boxes [K, 4] whose corners moved by up to `amount` of their sides, within images of sizes int64 [K, 2].

    luck float [K, 4] in [0, 1): how far, 0.5 = not at all.

    A head taught in true boxes alone learns that objects touch all four sides; found boxes are never so exact.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    moved = boxes + sides * amount * (2 * luck - 1)
    return torch.minimum(moved.clamp(min=0), image_sizes.flip(1).repeat(1, 2).to(boxes))
