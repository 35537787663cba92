"""Claims about referring expressions, boxes and regions, done by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.metrics.references import (
    FoundRegion,
    ReferenceScores,
    RegionScores,
    painted_overlap,
    ranked,
    referring_accuracy,
    region_overlap,
)
from glipv2.metrics.run_lengths import bitmap, polygon_run_lengths, run_lengths
from glipv2.structures import Detections, Vocabulary
from glipv2.structures.truth import ExpressionTruth, RegionTruth

TARGET, NOWHERE = (0.0, 0.0, 30.0, 30.0), (500.0, 500.0, 510.0, 510.0)


def boxes(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def scored(*rows: tuple[tuple[float, ...], float]) -> ReferenceScores:
    found = boxes(*(box for box, _ in rows))
    scores = torch.tensor([score for _, score in rows])
    labels = torch.zeros(len(rows), dtype=torch.int64)
    return referring_accuracy(
        [Detections(found, scores, labels, (480, 640), Vocabulary(("it",)))], [ExpressionTruth(1, torch.tensor(TARGET))]
    )


def test_the_best_score_decides_and_not_the_order_or_the_best_box() -> None:
    assert scored((NOWHERE, 0.1), (TARGET, 0.9)).accuracy == 1
    scores = scored((TARGET, 0.1), (NOWHERE, 0.9))
    assert (scores.accuracy, scores.recall_5) == (0, 1)


def test_recall_counts_the_best_five_and_ten() -> None:
    rows = [(NOWHERE, 1 - index / 20) for index in range(12)]
    at_six = scored(*rows[:5], (TARGET, 0.76), *rows[5:])
    assert (at_six.accuracy, at_six.recall_5, at_six.recall_10) == (0, 0, 1)
    assert scored(*rows, (TARGET, 0.1)).recall_10 == 0


def test_half_an_overlap_is_a_hit_and_generalised_overlap_is_stricter() -> None:
    along = scored(((10.0, 0.0, 40.0, 30.0), 0.9))  # IoU 0.5, and nothing of the hull is empty
    assert (along.accuracy, along.giou_accuracy) == (1, 1)
    aslant = scored(((4.0, 4.0, 34.0, 34.0), 0.9))  # IoU 0.60, generalised 0.58
    assert (aslant.accuracy, aslant.giou_accuracy) == (1, 1)
    further = scored(((5.2, 5.2, 35.2, 35.2), 0.9))  # IoU 0.52, generalised 0.48
    assert (further.accuracy, further.giou_accuracy) == (1, 0)
    assert scored(((10.5, 0.0, 40.5, 30.0), 0.9)).accuracy == 0


def test_of_equal_scores_the_box_of_larger_coordinates_comes_first() -> None:
    rows = boxes((1, 2, 5, 5), (2, 1, 5, 5), (2, 1, 6, 5), (0, 9, 9, 9))
    assert ranked(rows, torch.tensor([0.5, 0.5, 0.5, 0.9])).tolist() == rows[[3, 2, 1, 0]].tolist()
    assert scored((NOWHERE, 0.5), (TARGET, 0.5)).accuracy == 0


def test_an_expression_for_which_nothing_was_found_is_a_miss() -> None:
    assert set(vars(scored()).values()) == {0.0}


def test_boxes_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UserError, match="boxes for expression 1 are not finite"):
        scored(((0, 0, float("inf"), 1), 0.5))


# Regions


def mask(*rectangles: tuple[int, int, int, int]) -> Tensor:
    canvas = torch.zeros(40, 50).bool()
    for left, top, right, bottom in rectangles:
        canvas[top:bottom, left:right] = True
    return canvas


WHOLE, HALF, SMALL = (0, 0, 10, 10), (0, 0, 5, 10), (20, 20, 22, 22)


def overlap(*pairs: tuple[FoundRegion | None, RegionTruth]) -> RegionScores:
    return region_overlap([found for found, _ in pairs], [own for _, own in pairs])


def region(*rectangles: tuple[int, int, int, int]) -> FoundRegion:
    return FoundRegion(mask(*rectangles), boxes(*rectangles))


def meant(task_id: str, *rectangles: tuple[int, int, int, int], subsets: tuple[str, ...] = ()) -> RegionTruth:
    return RegionTruth(task_id, mask(*rectangles), boxes(*rectangles), subsets)


def test_mean_and_cumulative_overlap_part_where_a_large_region_is_missed() -> None:
    scores = overlap((region(SMALL), meant("1__0", SMALL)), (region(), meant("1__1", WHOLE)))
    assert scores.mean_mask_iou == 0.5
    assert scores.cumulative_mask_iou == pytest.approx(4 / 104)  # the missed region's area is in the union
    assert (scores.intersection_sum, scores.union_sum) == (4, 104)


def test_accuracy_is_strictly_above_its_threshold() -> None:
    scores = overlap((region(HALF), meant("1__0", WHOLE)))
    assert scores.mean_mask_iou == 0.5
    assert scores.mask_accuracy == (0, 0, 0, 0, 0)
    assert overlap((region((0, 0, 10, 8)), meant("1__0", WHOLE))).mask_accuracy == (1, 1, 1, 0, 0)


def test_a_phrase_without_prediction_is_left_out_of_the_means() -> None:
    scores = overlap((region(WHOLE), meant("1__0", WHOLE)), (None, meant("1__1", WHOLE)))
    assert (scores.phrases, scores.mean_mask_iou, scores.union_sum) == (1, 1, 100)
    assert (scores.mean_mask_iou_missing_as_empty, scores.mean_box_iou_missing_as_empty) == (0.5, 0.5)


def test_subsets_are_scored_apart() -> None:
    scores = overlap(
        (region(WHOLE), meant("1__0", WHOLE, subsets=("c20", "i_single"))),
        (region(HALF), meant("1__1", WHOLE, subsets=("c20",))),
    )
    assert {name: own.mean_mask_iou for name, own in scores.by_subset.items()} == {"c20": 0.75, "i_single": 1}
    flat = scores.flat("phrasecut")
    assert flat["phrasecut/c20/mean_mask_iou"] == 0.75
    assert flat["phrasecut/mask_accuracy_50"] == 0.5


def test_boxes_are_painted_one_row_and_column_short_and_not_cut_at_any_border() -> None:
    assert painted_overlap(boxes((0, 0, 11, 11)), boxes((0, 0, 11, 6))) == (50, 100)
    assert painted_overlap(boxes((-11, -11, 0, 0)), boxes((-11, -11, 0, 0), (90, 90, 101, 101))) == (100, 200)
    assert painted_overlap(boxes((0.9, 0.9, 11.9, 11.9)), boxes((0, 0, 11, 11))) == (100, 100)
    assert painted_overlap(boxes((0, 0, 11, 11), (0, 0, 11, 11)), boxes()) == (0, 100)  # a union counts no pixel twice
    assert painted_overlap(boxes(), boxes()) == (0, 0)
    assert painted_overlap(boxes((3, 3, 3, 3)), boxes((0, 0, 11, 11))) == (0, 100)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(UserError, match="expected a mask of 40 x 50 pixels for phrase 1__0, but got 50 x 40"):
        overlap((FoundRegion(mask(WHOLE).T, boxes(WHOLE)), meant("1__0", WHOLE)))


def test_run_lengths_give_the_mask_back() -> None:
    masks = torch.stack([mask(WHOLE, SMALL), mask()])
    assert torch.equal(torch.stack([bitmap(own) for own in run_lengths(masks)]), masks)
    assert run_lengths(masks[:0]) == []
    drawn = bitmap(polygon_run_lengths([[0, 0, 10, 0, 10, 10, 0, 10]], (40, 50)))
    assert torch.equal(drawn, mask(WHOLE))
