"""The grounding loss: which region matches which token, and where its box is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glipv2.losses.ranks import mean_over_ranks, shared_count
from glipv2.matching import assign_regions
from glipv2.ranges import at_least, share
from glipv2.structures import BoxConvention, RegionOutputs, RegionTargets
from glipv2.structures.boxes import box_centers, generalized_iou


@dataclass
class GroundingLossConfig:
    """Weights of the terms and constants of the token focal loss and the matching (released values)."""

    alignment_weight: float = at_least(0, 1.0)
    box_weight: float = at_least(0, 2.0)
    centerness_weight: float = at_least(0, 1.0)
    alpha: float = share(0.25)
    gamma: float = at_least(0, 2.0)
    top_k: int = at_least(1, 9)


@dataclass(frozen=True)
class GroundingTerms:
    """The weighted terms (scalars), and the box each region was matched with, int64 [B, R], -1 for none."""

    alignment: Tensor
    box: Tensor
    centerness: Tensor
    assignment: Tensor

    @property
    def matched(self) -> Tensor:
        """How many regions were matched on this rank."""
        return (self.assignment >= 0).sum().float()


def grounding_loss(
    outputs: RegionOutputs,
    targets: RegionTargets,
    token_mask: Tensor,
    convention: BoxConvention,
    config: GroundingLossConfig,
) -> GroundingTerms:
    """Token focal loss, GIoU and centerness over the regions of a batch.

    Every term is divided by the matched regions a rank (averaged over ranks, at least one on one of them); a batch
    without any box gives a finite alignment loss and zero for the others, so it trains as negatives.
    Texts that are not `judged` teach nothing but their boxes.
    """
    assignment = assign_regions(
        outputs.anchors, outputs.level_sizes, targets.boxes, targets.box_mask, convention, config.top_k
    )
    if targets.judged is not None:
        token_mask = token_mask & targets.judged
    rows, regions = (assignment >= 0).nonzero(as_tuple=True)
    owners = assignment[rows, regions]
    normalizer = shared_count(outputs.centerness.new_tensor(float(len(rows))))
    alignment = token_focal_loss(
        outputs.alignment_logits,
        token_targets(assignment, targets.positive_map),
        token_mask,
        config.alpha,
        config.gamma,
    )
    anchors, boxes = outputs.anchors[regions], targets.boxes[rows, owners]
    wanted = centerness_targets(anchors, boxes)
    decoded = convention.decode(outputs.box_deltas[rows, regions], anchors)
    box = (wanted * (1 - generalized_iou(decoded, boxes))).sum() / mean_over_ranks(wanted.sum()).clamp(min=1e-6)
    centerness = F.binary_cross_entropy_with_logits(outputs.centerness[rows, regions], wanted, reduction="sum")
    return GroundingTerms(
        alignment=config.alignment_weight * alignment / normalizer,
        box=config.box_weight * box,
        centerness=config.centerness_weight * centerness / normalizer,
        assignment=assignment,
    )


def token_targets(assignment: Tensor, positive_map: Tensor) -> Tensor:
    """Float [B, R, L]: the tokens each region should match; all zero for background."""
    batch, count, length = positive_map.shape
    background = positive_map.new_zeros(batch, 1, length)
    table = torch.cat([positive_map, background], dim=1).float()
    index = torch.where(assignment >= 0, assignment, count)
    return table.gather(1, index[..., None].expand(-1, -1, length))


def token_focal_loss(logits: Tensor, targets: Tensor, token_mask: Tensor, alpha: float, gamma: float) -> Tensor:
    """Sigmoid focal loss [B, R, L] summed over real tokens (token_mask bool [B, L])."""
    logits = logits.float()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    miss = (logits.sigmoid() - targets).abs()  # 1 - p_t for targets of 0 or 1
    weight = torch.where(targets > 0.5, alpha, 1 - alpha)
    return (weight * miss**gamma * cross_entropy * token_mask[:, None, :]).sum()


def centerness_targets(anchors: Tensor, boxes: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) · min(t, b) / max(t, b)) of the anchors' centres in their boxes, [K]."""
    centers = box_centers(anchors)
    before, after = centers - boxes[:, :2], boxes[:, 2:] - centers
    ratio = torch.minimum(before, after) / torch.maximum(before, after)
    return ratio.prod(dim=-1).clamp(min=0).sqrt()
