"""Claims about ATSS: the fast assignment equals a slow one, box by box, written from the released description."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from glipv2.matching import assign_regions
from glipv2.models.heads.regions import RegionHeadConfig
from glipv2.structures import BoxConvention

Box = tuple[float, ...]
PLAIN, INCLUSIVE = BoxConvention(), BoxConvention(inclusive=True)
both = pytest.mark.parametrize("convention", [PLAIN, INCLUSIVE], ids=["plain", "inclusive"])


def grid(sizes: tuple[tuple[int, int], ...], *, inclusive: bool = False) -> tuple[Tensor, tuple[int, ...]]:
    """Anchors of a pyramid whose finest level has stride 8, and the regions of each level."""
    head = RegionHeadConfig(inclusive_boxes=inclusive).build(16, 16, len(sizes))
    anchors = head.anchors(tuple(torch.zeros(1, 16, *size) for size in sizes))
    return anchors.double(), tuple(height * width for height, width in sizes)


SIZES = ((8, 12), (4, 6), (2, 3), (1, 2), (1, 1))  # of an image of 64 x 96


def slow_iou(first: Box, second: Box, end: float) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0]) + end
    height = min(first[3], second[3]) - max(first[1], second[1]) + end
    overlap = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + end) * (box[3] - box[1] + end) for box in (first, second)]
    return overlap / (sum(areas) - overlap)


def slow_assignment(
    anchors: list[Box], level_sizes: tuple[int, ...], boxes: list[Box], top_k: int, end: float
) -> list[int]:
    """ATSS of one image: per box and level the nearest anchors, then mean + deviation of their IoU."""
    best = [(-math.inf, -1)] * len(anchors)  # (IoU, box) of each anchor
    for number, box in enumerate(boxes):
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        candidates: list[int] = []
        start = 0
        for size in level_sizes:
            distance = {
                index: math.dist(center, ((anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2))
                for index, anchor in enumerate(anchors[start : start + size], start)
            }
            candidates += sorted(distance, key=lambda index: distance[index])[:top_k]
            start += size
        overlaps = {index: slow_iou(anchors[index], box, end) for index in candidates}
        threshold = statistics.mean(overlaps.values()) + statistics.stdev(overlaps.values())
        for index, overlap in overlaps.items():
            x, y = (anchors[index][0] + anchors[index][2]) / 2, (anchors[index][1] + anchors[index][3]) / 2
            inside = min(x - box[0], y - box[1], box[2] - x, box[3] - y) > 0.01
            if overlap >= threshold and inside and overlap > best[index][0]:
                best[index] = (overlap, number)
    return [number for _, number in best]


def random_boxes(count: int, rng: torch.Generator) -> Tensor:
    """Boxes in an image of 64 x 96, from slivers below the finest stride to the whole image."""
    corner = torch.rand(count, 2, generator=rng, dtype=torch.float64) * torch.tensor([90.0, 60.0])
    side = torch.exp(torch.rand(count, 2, generator=rng, dtype=torch.float64) * 3.2) + 1
    return torch.cat([corner, torch.minimum(corner + side, torch.tensor([96.0, 64.0]))], dim=1)


@both
@pytest.mark.parametrize("seed", range(8))
def test_the_fast_assignment_equals_the_slow_one(convention: BoxConvention, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    anchors, level_sizes = grid(SIZES, inclusive=convention.inclusive)
    counts = [0, 1, 3, 7]
    boxes = torch.zeros(4, 7, 4, dtype=torch.float64)
    box_mask = torch.zeros(4, 7, dtype=torch.bool)
    for row, count in enumerate(counts):
        boxes[row, :count] = random_boxes(count, rng)
        boxes[row, count:] = torch.tensor([0.0, 0.0, 96.0, 64.0])  # padding that would win if it were read
        box_mask[row, :count] = True
    fast = assign_regions(anchors, level_sizes, boxes, box_mask, convention, top_k=4)
    rows = [tuple(anchor) for anchor in anchors.tolist()]
    for row, count in enumerate(counts):
        listed = [tuple(box) for box in boxes[row, :count].tolist()]
        assert fast[row].tolist() == slow_assignment(rows, level_sizes, listed, 4, convention.end)
    assert (fast[0] == -1).all()
    assert (fast >= 0).any()


def test_a_batch_without_any_box_is_all_background() -> None:
    anchors, level_sizes = grid(SIZES)
    assignment = assign_regions(anchors, level_sizes, torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool), PLAIN)
    assert assignment.shape == (2, sum(level_sizes))
    assert assignment.dtype == torch.int64
    assert (assignment == -1).all()


def test_each_image_is_matched_as_if_it_were_alone() -> None:
    rng = torch.Generator().manual_seed(3)
    anchors, level_sizes = grid(SIZES)
    boxes = random_boxes(6, rng).reshape(2, 3, 4)
    box_mask = torch.tensor([[True, True, False], [True, True, True]])
    together = assign_regions(anchors, level_sizes, boxes, box_mask, PLAIN)
    for row, count in enumerate((2, 3)):
        alone = assign_regions(
            anchors, level_sizes, boxes[row : row + 1, :count], box_mask[row : row + 1, :count], PLAIN
        )
        assert torch.equal(together[row], alone[0])


def test_a_box_between_the_centres_of_all_anchors_teaches_no_region() -> None:
    anchors, level_sizes = grid(SIZES)
    sliver = torch.tensor([[[5.0, 5.0, 7.0, 7.0]]], dtype=torch.float64)  # centres lie at 4, 12, …
    assert (assign_regions(anchors, level_sizes, sliver, torch.tensor([[True]]), PLAIN) == -1).all()


def test_a_region_claimed_twice_goes_to_the_higher_overlap() -> None:
    anchors, level_sizes = grid(((4, 4),))
    outer, inner = [-28.0, -28, 60, 60], [-16.0, -16, 48, 48]
    boxes = torch.tensor([[outer, inner]], dtype=torch.float64)
    both_boxes = assign_regions(anchors, level_sizes, boxes, torch.tensor([[True, True]]), PLAIN)[0]
    only_outer = assign_regions(anchors, level_sizes, boxes[:, :1], torch.tensor([[True]]), PLAIN)[0]
    only_inner = assign_regions(anchors, level_sizes, boxes[:, 1:], torch.tensor([[True]]), PLAIN)[0]
    contested = (only_outer == 0) & (only_inner == 0)
    assert contested.any()
    overlap = PLAIN.iou(anchors[contested][:, None], boxes[0])
    assert torch.equal(both_boxes[contested], overlap.argmax(dim=1))


def test_the_assignment_is_the_released_codes(shared: Path) -> None:
    """The regions that microsoft/GLIP matched on the small parity case, image by image."""
    case = np.load(shared / "parity" / "glip_t_small_loss.npz")
    shapes = ((32, 44), (16, 22), (8, 11), (4, 6), (2, 3))
    anchors, level_sizes = grid(shapes, inclusive=True)
    for index, image in enumerate(json.loads(str(case["spec"]))["images"]):
        boxes = torch.tensor(image["boxes"], dtype=torch.float64)[None]
        mask = torch.ones(1, boxes.shape[1], dtype=torch.bool)
        assignment = assign_regions(anchors, level_sizes, boxes, mask, INCLUSIVE)[0]
        regions = (assignment >= 0).nonzero()[:, 0]
        assert regions.tolist() == sorted(case[f"positive_regions.{index}"].tolist())
        labels = dict(
            zip(case[f"positive_regions.{index}"].tolist(), case[f"assigned_label.{index}"].tolist(), strict=True)
        )
        assert [image["labels"][box] for box in assignment[regions].tolist()] == [
            labels[region] for region in regions.tolist()
        ]
