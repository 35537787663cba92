"""Which region learns which box: adaptive training sample selection (ATSS), for a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from glipv2.structures import BoxConvention
from glipv2.structures.boxes import box_centers

MIN_INSIDE = 0.01  # an anchor's centre must lie this far inside its box, in pixels


@torch.no_grad()
def assign_regions(
    anchors: Tensor,
    level_sizes: tuple[int, ...],
    boxes: Tensor,
    box_mask: Tensor,
    convention: BoxConvention,
    top_k: int = 9,
) -> Tensor:
    """The index of the box each region is matched to, int64 [B, R], -1 = background.

    anchors [R, 4] with `level_sizes` regions a level; boxes [B, N, 4], box_mask bool [B, N].
    For each box the `top_k` nearest anchors of each level (centre distance) are candidates; those
    whose IoU reaches mean + standard deviation over the candidates, and whose centre is inside the
    box, are its regions; a region claimed twice goes to the box of higher IoU (as released).
    """
    batch, count = box_mask.shape
    if count == 0:
        return torch.full((batch, len(anchors)), -1, dtype=torch.int64, device=anchors.device)
    candidates = _nearest_per_level(anchors, level_sizes, boxes, top_k)  # [B, N, K]
    picked = anchors[candidates]  # [B, N, K, 4]
    iou = convention.iou(picked, boxes[:, :, None])
    threshold = iou.mean(dim=-1) + iou.std(dim=-1)  # unbiased
    centers = box_centers(picked)
    margins = torch.cat([centers - boxes[:, :, None, :2], boxes[:, :, None, 2:] - centers], dim=-1)
    positive = (iou >= threshold[..., None]) & (margins.amin(dim=-1) > MIN_INSIDE) & box_mask[..., None]
    claims = iou.new_full((batch, count, len(anchors)), -1.0)
    claims.scatter_(2, candidates, torch.where(positive, iou, -1.0))
    best, owner = claims.max(dim=1)
    return torch.where(best >= 0, owner, -1)


def _nearest_per_level(anchors: Tensor, level_sizes: tuple[int, ...], boxes: Tensor, top_k: int) -> Tensor:
    """Indices of the nearest anchors of each level to each box, [B, N, K]."""
    distances = (box_centers(boxes)[:, :, None] - box_centers(anchors)).pow(2).sum(dim=-1).sqrt()
    chosen = []
    start = 0
    for size in level_sizes:
        nearest = distances[..., start : start + size].topk(min(top_k, size), dim=-1, largest=False).indices
        chosen.append(nearest + start)
        start += size
    return torch.cat(chosen, dim=-1)
