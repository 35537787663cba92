"""What expressions refer to: accuracy of boxes as on RefCOCO, RefCOCO+, RefCOCOg; overlap of masks as on PhraseCut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.metrics.tables import (
    NO_BYTES,
    NO_LENGTHS,
    UNDEFINED,
    Table,
    TableMetric,
    first_texts,
    first_visits,
    packed,
    texts,
)
from glipv2.structures import Detections
from glipv2.structures.boxes import BoxConvention, generalized_iou
from glipv2.structures.truth import ExpressionTruth, RegionTruth

THRESHOLD = 0.5
NEVER = torch.iinfo(torch.int64).max  # the rank of an expression that no box hits


@dataclass(frozen=True)
class ReferenceScores:
    """Shares of expressions whose best box, or one of the 5 or 10 best, has IoU ≥ 0.5 with the box that is meant.

    The giou numbers ask for GENERALISED IoU ≥ 0.5, as the script of MDETR does; they are never higher. Publish
    `accuracy`. -1 without expressions.
    """

    accuracy: float
    recall_5: float
    recall_10: float
    giou_accuracy: float
    giou_recall_5: float
    giou_recall_10: float

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger: "refcoco/accuracy", "refcoco/recall_5", …, "refcoco/giou_recall_10"."""
        return {f"{prefix}/{name}": value for name, value in vars(self).items()}


def referring_accuracy(predictions: Sequence[Detections], truth: Sequence[ExpressionTruth]) -> ReferenceScores:
    """Accuracy of one prediction an expression, of which only boxes and scores are read, in any order.

    Of equal scores the box of larger coordinates comes first (x1, then y1, x2, y2), as in MDETR. An expression
    for which nothing was found is a miss; one that occurs twice counts once. UserError for a missing prediction.
    """
    return _reference_scores(_expression_table(predictions, truth))


def ranked(boxes: Tensor, scores: Tensor) -> Tensor:
    """Boxes [K, 4] best first; of equal scores the one of larger coordinates."""
    columns = torch.cat([scores[:, None].double(), boxes.double()], dim=1).numpy()
    order = np.lexsort(-columns.T[::-1])
    return boxes[torch.from_numpy(order)]


EXPRESSIONS: dict[str, Tensor] = {
    "expressions": torch.zeros(0, 3, dtype=torch.int64),  # id; rank of the first hit by IoU and by generalised IoU
}


def _expression_table(predictions: Sequence[Detections], truth: Sequence[ExpressionTruth]) -> Table:
    if len(predictions) != len(truth):
        raise UserError(f"expected one prediction an expression, but got {len(predictions)} for {len(truth)}")
    rows = [_ranks(found.to("cpu"), own.to("cpu")) for found, own in zip(predictions, truth, strict=True)]
    return {"expressions": torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)}


def _ranks(found: Detections, truth: ExpressionTruth) -> tuple[int, int, int]:
    if not (found.boxes.isfinite().all() and found.scores.isfinite().all()):
        raise UserError(f"boxes for expression {truth.expression_id} are not finite; has the training diverged?")
    best, target = ranked(found.boxes, found.scores).double(), truth.box.double()
    by_iou = BoxConvention().iou(best, target) >= THRESHOLD
    by_giou = generalized_iou(best, target, epsilon=0.0) >= THRESHOLD
    return truth.expression_id, _first(by_iou), _first(by_giou)


def _first(hits: Tensor) -> int:
    return int(hits.int().argmax()) if hits.any() else NEVER


def _reference_scores(table: Table) -> ReferenceScores:
    rows = table["expressions"]
    kept, _ = first_visits(rows[:, 0])
    ranks = rows[kept, 1:]
    shares = [
        float((ranks[:, kind] < limit).double().mean()) if len(ranks) else UNDEFINED
        for kind in (0, 1)
        for limit in (1, 5, 10)
    ]
    return ReferenceScores(*shares)


class ReferringAccuracy(TableMetric):
    """Accuracy of expressions over a data set, over all ranks; each counts once, however often it was seen."""

    EMPTY = EXPRESSIONS

    def update(self, predictions: Sequence[Detections], truth: Sequence[ExpressionTruth]) -> None:
        """Adds one prediction an expression, in the order of `truth`."""
        self.add(_expression_table(predictions, truth))

    def compute(self) -> ReferenceScores:
        """The scores of everything seen since the last reset."""
        return _reference_scores(self.table())


# PhraseCut

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class FoundRegion:
    """What was found for a phrase: mask bool [H, W] of the original image, and boxes float [K, 4] xyxy."""

    mask: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class RegionScores:
    """PhraseCut's numbers over the phrases with a prediction; -1 where there are none.

    mean_mask_iou: mean of intersection / union; cumulative_mask_iou: sum of intersections / sum of unions;
    mask_accuracy: share of phrases with IoU strictly above 0.5, 0.6, 0.7, 0.8 and 0.9. box: the same for the union
    of boxes. missing_as_empty: phrases without a prediction count as 0. by_subset: the same for each subset.
    """

    phrases: int
    mean_mask_iou: float
    cumulative_mask_iou: float
    mask_accuracy: tuple[float, ...]
    mean_box_iou: float
    box_accuracy: tuple[float, ...]
    mean_mask_iou_missing_as_empty: float
    mean_box_iou_missing_as_empty: float
    intersection_sum: int
    union_sum: int
    by_subset: dict[str, RegionScores]

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger: "phrasecut/mean_mask_iou", "phrasecut/mask_accuracy_50", …, "phrasecut/c20/mean_mask_iou", …"""
        numbers = {f"{prefix}/{name}": value for name, value in vars(self).items() if isinstance(value, float)}
        for kind, shares in (("mask", self.mask_accuracy), ("box", self.box_accuracy)):
            for threshold, share in zip(THRESHOLDS, shares, strict=True):
                numbers[f"{prefix}/{kind}_accuracy_{threshold * 100:.0f}"] = share
        for subset, scores in self.by_subset.items():
            numbers |= scores.flat(f"{prefix}/{subset}")
        return numbers


def region_overlap(predictions: Sequence[FoundRegion | None], truth: Sequence[RegionTruth]) -> RegionScores:
    """Overlap of one region a phrase; None where nothing was predicted. A phrase that occurs twice counts once.

    Raises UserError for a mask of another size than the truth's.
    """
    return _region_scores(_region_table(predictions, truth))


def painted_overlap(found: Tensor, truth: Tensor) -> tuple[int, int]:
    """Pixels in both and in either of two unions of boxes [N, 4] xyxy.

    PhraseCut's rule: corners truncated to integers, the last row and column of each box left out, no border.
    """
    corners = [boxes.reshape(-1, 4).double().trunc().long() for boxes in (found, truth)]
    every = torch.cat(corners)
    if not len(every):
        return 0, 0
    low, high = every.amin(dim=0)[:2], every.amax(dim=0)[2:]
    width, height = (high - low).clamp(min=0).tolist()
    painted = np.zeros((2, height, width), dtype=bool)
    for canvas, boxes in zip(painted, corners, strict=True):
        for left, top, right, bottom in (boxes - low.repeat(2)).tolist():
            canvas[top : max(bottom - 1, 0), left : max(right - 1, 0)] = True
    return int((painted[0] & painted[1]).sum()), int((painted[0] | painted[1]).sum())


REGIONS: dict[str, Tensor] = {
    "regions": torch.zeros(0, 5, dtype=torch.int64),  # was predicted; pixels in both and in either: masks, boxes
    "task_ids": NO_BYTES,
    "task_id_lengths": NO_LENGTHS,
    "subsets": NO_BYTES,  # of each phrase, one a line
    "subset_lengths": NO_LENGTHS,
}


def _region_table(predictions: Sequence[FoundRegion | None], truth: Sequence[RegionTruth]) -> Table:
    if len(predictions) != len(truth):
        raise UserError(f"expected one prediction (or None) a phrase, but got {len(predictions)} for {len(truth)}")
    rows = [_region_row(found, own) for found, own in zip(predictions, truth, strict=True)]
    task_ids, id_lengths = packed([own.task_id for own in truth])
    subsets, subset_lengths = packed(["\n".join(own.subsets) for own in truth])
    return {
        "regions": torch.tensor(rows, dtype=torch.int64).reshape(-1, 5),
        "task_ids": task_ids,
        "task_id_lengths": id_lengths,
        "subsets": subsets,
        "subset_lengths": subset_lengths,
    }


def _region_row(found: FoundRegion | None, truth: RegionTruth) -> tuple[int, ...]:
    if found is None:
        return 0, 0, 0, 0, 0
    if found.mask.shape != truth.mask.shape:
        sizes = [" x ".join(map(str, mask.shape)) for mask in (truth.mask, found.mask)]
        raise UserError(f"expected a mask of {sizes[0]} pixels for phrase {truth.task_id}, but got {sizes[1]}")
    mask, target = found.mask.cpu().bool(), truth.mask.cpu().bool()
    boxes = painted_overlap(found.boxes.detach().cpu(), truth.boxes.cpu())
    return 1, int((mask & target).sum()), int((mask | target).sum()), *boxes


def _region_scores(table: Table) -> RegionScores:
    kept = first_texts(table["task_ids"], table["task_id_lengths"])
    regions = table["regions"][kept]
    subsets = texts(table["subsets"], table["subset_lengths"])
    rows_of: dict[str, list[int]] = {}
    for row, index in enumerate(kept.nonzero().flatten().tolist()):
        for subset in dict.fromkeys(filter(None, subsets[index].split("\n"))):
            rows_of.setdefault(subset, []).append(row)
    by_subset = {subset: _overlaps(regions[rows], {}) for subset, rows in sorted(rows_of.items())}
    return _overlaps(regions, by_subset)


def _overlaps(regions: Tensor, by_subset: dict[str, RegionScores]) -> RegionScores:
    found = regions[regions[:, 0] == 1].double()
    masks, boxes = (found[:, first] / found[:, first + 1].clamp(min=1) for first in (1, 3))
    both, either = found[:, 1].sum(), found[:, 2].sum()

    def over(values: Tensor, count: int) -> float:
        return float(values.double().sum() / count) if count else UNDEFINED

    return RegionScores(
        phrases=len(found),
        mean_mask_iou=over(masks, len(found)),
        cumulative_mask_iou=float(both / either.clamp(min=1)) if len(found) else UNDEFINED,
        mask_accuracy=tuple(over(masks > threshold, len(found)) for threshold in THRESHOLDS),
        mean_box_iou=over(boxes, len(found)),
        box_accuracy=tuple(over(boxes > threshold, len(found)) for threshold in THRESHOLDS),
        mean_mask_iou_missing_as_empty=over(masks, len(regions)),
        mean_box_iou_missing_as_empty=over(boxes, len(regions)),
        intersection_sum=int(both),
        union_sum=int(either),
        by_subset=by_subset,
    )


class RegionOverlap(TableMetric):
    """PhraseCut's numbers over a data set, over all ranks; a phrase counts once, however often it was seen."""

    EMPTY = REGIONS

    def update(self, predictions: Sequence[FoundRegion | None], truth: Sequence[RegionTruth]) -> None:
        """Adds one region a phrase, in the order of `truth`."""
        self.add(_region_table(predictions, truth))

    def compute(self) -> RegionScores:
        """The scores of everything seen since the last reset."""
        return _region_scores(self.table())
