"""Claims about kinds of errors: one made-up scene for each, counted by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from glipv2.metrics.detection_rows import FoundRows, TruthRows
from glipv2.metrics.errors import DetectionErrors, detection_errors
from glipv2.metrics.run_lengths import run_lengths

NAMES = ("cat", "dog", "cup")
CAT, DOG, CUP = range(3)
Box = tuple[float, float, float, float]
HERE: Box = (0, 0, 10, 10)
SHIFTED: Box = (0, 0, 10, 4)  # IoU 0.4 with HERE
FAR: Box = (50, 50, 60, 60)


def errors(
    found: Sequence[tuple[int, int, float, Box]], truth: Sequence[tuple[int, int, Box]], crowds: Sequence[int] = ()
) -> DetectionErrors:
    """Of (image, label, score, box) and (image, label, box); crowds: which objects are such."""
    boxes = torch.tensor([one[2] for one in truth]).reshape(-1, 4)
    return detection_errors(
        FoundRows(
            torch.tensor([one[0] for one in found], dtype=torch.int64),
            torch.tensor([one[1] for one in found], dtype=torch.int64),
            torch.tensor([one[2] for one in found]),
            torch.tensor([one[3] for one in found]).reshape(-1, 4),
        ),
        TruthRows(
            torch.tensor([one[0] for one in truth], dtype=torch.int64),
            torch.tensor([one[1] for one in truth], dtype=torch.int64),
            torch.tensor([row in crowds for row in range(len(truth))], dtype=torch.bool),
            (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            boxes,
        ),
        NAMES,
    )


# One detection that is right keeps the threshold at 0.5, so that all others count.
RIGHT = [(9, CUP, 0.5, HERE), (8, CUP, 0.5, HERE), (7, CUP, 0.5, HERE)]
THERE = [(image, CUP, HERE) for image in (9, 8, 7)]


@pytest.mark.parametrize(
    ("found", "truth", "kinds"),
    [
        ([(0, CAT, 0.9, HERE)], [(0, CAT, HERE)], {"correct": 1}),
        ([(0, CAT, 0.9, SHIFTED)], [(0, CAT, HERE)], {"localisation": 1}),
        ([(0, DOG, 0.9, HERE)], [(0, CAT, HERE)], {"class": 1}),
        ([(0, DOG, 0.9, SHIFTED)], [(0, CAT, HERE)], {"both": 1, "missed": 1}),
        ([(0, CAT, 0.9, HERE), (0, CAT, 0.8, HERE)], [(0, CAT, HERE)], {"correct": 1, "duplicate": 1}),
        ([(0, CAT, 0.9, FAR)], [(0, CAT, HERE)], {"background": 1, "missed": 1}),
        ([(0, CAT, 0.9, FAR)], [], {"background": 1}),
        ([], [(0, CAT, HERE)], {"missed": 1}),
        ([(0, CAT, 0.1, HERE)], [(0, CAT, FAR)], {"missed": 1}),  # below the threshold nothing is said
        ([(0, CAT, 0.9, HERE), (0, DOG, 0.8, HERE)], [(0, CAT, HERE)], {"correct": 1, "class": 1}),
    ],
)
def test_every_kind_of_error_is_counted_once(
    found: list[tuple[int, int, float, Box]], truth: list[tuple[int, int, Box]], kinds: dict[str, int]
) -> None:
    result = errors([*found, *RIGHT], [*truth, *THERE])
    assert result.threshold == 0.5
    assert {name: count for name, count in result.kinds.items() if count} == {
        **kinds, "correct": kinds.get("correct", 0) + 3,
    }  # fmt: skip


def test_of_a_crowd_nothing_is_said() -> None:
    result = errors([(0, CAT, 0.9, HERE), *RIGHT], [(0, CAT, HERE), *THERE], crowds=[0])
    assert {name: count for name, count in result.kinds.items() if count} == {"correct": 3}
    assert result.objects == 3
    assert (result.precision, result.recall) == (1.0, 1.0)


def test_confusions_name_the_true_and_the_given_name_the_most_frequent_first() -> None:
    found = [(0, DOG, 0.9, HERE), (1, DOG, 0.9, HERE), (2, CAT, 0.9, HERE), *RIGHT]
    result = errors(found, [(0, CAT, HERE), (1, CAT, HERE), (2, CUP, HERE), *THERE])
    assert list(result.confusion) == [("cat", "dog", 2), ("cup", "cat", 1)]
    assert result.by_class["cat"]["class"] == 2  # errors of a class are those of its objects
    assert result.by_class["cup"]["correct"] == 3


def test_the_threshold_is_where_f1_is_best() -> None:
    found = [(0, CAT, 0.9, HERE), (1, CAT, 0.6, HERE), (2, CAT, 0.3, FAR), (3, CAT, 0.2, FAR), (4, CAT, 0.1, HERE)]
    result = errors(found, [(0, CAT, HERE), (1, CAT, HERE), (4, CAT, HERE)])
    assert result.threshold == pytest.approx(0.6)  # F1 there is 2 · 2 / (2 + 3), and 2 · 3 / (5 + 3) with all
    assert (result.precision, result.recall) == (1.0, pytest.approx(2 / 3))


def test_precision_by_recall_is_that_of_average_precision() -> None:
    found = [(0, CAT, 0.9, HERE), (1, CAT, 0.8, FAR), (2, CAT, 0.7, HERE)]
    result = errors(found, [(0, CAT, HERE), (1, CAT, HERE), (2, CAT, HERE), (3, CAT, HERE)])
    curve = result.curves["0.50"]
    assert curve[:26] == [1.0] * 26
    assert curve[26:51] == [0.6667] * 25
    assert curve[51:] == [0.0] * 50


def test_nothing_found_and_nothing_there_are_no_failures() -> None:
    assert errors([], []).kinds["missed"] == 0
    nothing = errors([], [(0, CAT, HERE)])
    assert (nothing.threshold, nothing.kinds["missed"]) == (-1.0, 1)
    assert errors([(0, CAT, 0.9, HERE)], []).curves == {}


def test_with_masks_their_overlap_counts() -> None:
    mask = torch.zeros(2, 20, 20, dtype=torch.bool)
    mask[0, :10, :10], mask[1, :10, :4] = True, True  # the boxes are the same
    box = torch.tensor([[0.0, 0, 10, 10]])
    one, label, score = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), torch.tensor([0.9])
    truth = TruthRows(one, label, torch.tensor([False]), torch.tensor([100.0]), box, run_lengths(mask[:1]))
    found = FoundRows(one, label, score, box, run_lengths(mask[1:]))
    result = detection_errors(found, truth, NAMES)
    assert result.region == "mask"
    assert result.threshold == -1.0
    assert detection_errors(FoundRows(one, label, score, box, run_lengths(mask[:1])), truth, NAMES).threshold > 0
