"""Claims about box arithmetic, in both conventions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close

from glipv2.structures.boxes import (
    BoxConvention,
    box_centers,
    generalized_iou,
    scale_boxes,
    xywh_to_xyxy,
    xyxy_to_xywh,
)

PLAIN, INCLUSIVE = BoxConvention(), BoxConvention(inclusive=True)
both = pytest.mark.parametrize("convention", [PLAIN, INCLUSIVE], ids=["plain", "inclusive"])


def boxes_of(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


def random_boxes(count: int, seed: int, span: float = 200.0, side: float = 80.0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=rng, dtype=torch.float64) * span
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=rng, dtype=torch.float64) * side], dim=1)


# Formats


def test_xywh_and_corners_are_the_same_box() -> None:
    corners = boxes_of((2, 3, 7, 13))
    assert xyxy_to_xywh(corners).tolist() == [[2, 3, 5, 10]]
    assert xywh_to_xyxy(xyxy_to_xywh(corners)).tolist() == corners.tolist()
    assert xywh_to_xyxy(torch.zeros(0, 4)).shape == (0, 4)


def test_centers_are_x_then_y() -> None:
    assert box_centers(boxes_of((0, 10, 4, 30))).tolist() == [[2, 20]]


def test_scaling_takes_heights_and_widths_apart() -> None:
    scaled = scale_boxes(boxes_of((10, 10, 20, 20)), from_size=(100, 200), to_size=(300, 400))
    assert scaled.tolist() == [[20, 30, 40, 60]]
    assert scale_boxes(scaled, (300, 400), (100, 200)).tolist() == [[10, 10, 20, 20]]


# Anchors


@pytest.mark.parametrize(
    ("stride", "released"),
    [
        (8, (-28, -28, 35, 35)),
        (16, (-56, -56, 71, 71)),
        (32, (-112, -112, 143, 143)),
        (64, (-224, -224, 287, 287)),
        (128, (-448, -448, 575, 575)),
    ],
)
def test_cell_anchors_are_the_released_ones(stride: int, released: tuple[int, int, int, int]) -> None:
    assert INCLUSIVE.cell_anchor(8.0 * stride, stride) == released
    assert PLAIN.cell_anchor(8.0 * stride, stride) == (*released[:2], released[2] + 1, released[3] + 1)


# Overlap


def test_iou_by_hand() -> None:
    square, half = boxes_of((0, 0, 9, 9)), boxes_of((0, 0, 9, 4))
    assert_close(PLAIN.iou(square, half), torch.tensor([36 / 81], dtype=torch.float64))
    assert_close(INCLUSIVE.iou(square, half), torch.tensor([50 / 100], dtype=torch.float64))
    assert PLAIN.iou(square, square).tolist() == [1]
    assert INCLUSIVE.iou(square, square).tolist() == [1]


def test_boxes_that_share_an_edge_overlap_only_where_corners_are_pixels() -> None:
    first, second = boxes_of((0, 0, 9, 9)), boxes_of((9, 0, 18, 9))
    assert PLAIN.iou(first, second).tolist() == [0]
    assert_close(INCLUSIVE.iou(first, second), torch.tensor([10 / 190], dtype=torch.float64))


@both
def test_iou_of_boxes_apart_or_without_area_is_zero_not_nan(convention: BoxConvention) -> None:
    far, point = boxes_of((500, 500, 510, 510)), boxes_of((3, 3, 3, 3))
    assert convention.iou(boxes_of((0, 0, 9, 9)), far).tolist() == [0]
    assert PLAIN.iou(point, point).tolist() == [0]
    assert INCLUSIVE.iou(point, point).tolist() == [1]  # one pixel


@both
def test_iou_broadcasts_to_all_pairs(convention: BoxConvention) -> None:
    first, second = random_boxes(5, 0), random_boxes(7, 1)
    pairs = convention.iou(first[:, None], second)
    assert pairs.shape == (5, 7)
    slow = [[float(convention.iou(one, other)) for other in second] for one in first]
    assert_close(pairs, torch.tensor(slow, dtype=torch.float64))
    assert convention.iou(first[:, None], second[:0]).shape == (5, 0)


def test_giou_by_hand() -> None:
    square = boxes_of((0, 0, 2, 2))
    cases = {  # other box -> IoU - (hull - union) / hull
        (0, 0, 2, 2): 1.0,
        (2, 0, 4, 2): 0.0,  # touching: no overlap, no gap
        (4, 0, 6, 2): -1 / 3,  # hull 12, union 8
        (1, 1, 3, 3): 1 / 7 - 2 / 9,  # hull 9, union 7
    }
    for other, expected in cases.items():
        assert_close(generalized_iou(square, boxes_of(other)).item(), expected, atol=1e-6, rtol=0)


def test_giou_of_boxes_without_area_is_finite_and_has_gradients() -> None:
    point = boxes_of((1, 1, 1, 1)).requires_grad_()
    value = generalized_iou(point, boxes_of((1, 1, 1, 1)))
    value.sum().backward()
    assert point.grad is not None
    assert torch.isfinite(value).all()
    assert torch.isfinite(point.grad).all()


# The coder


@both
@settings(max_examples=50, deadline=None)
@given(
    box=st.tuples(*[st.floats(-500, 500)] * 2, *[st.floats(1, 400)] * 2),
    anchor=st.tuples(*[st.floats(-500, 500)] * 2, *[st.floats(8, 400)] * 2),
)
def test_decode_is_the_inverse_of_encode(
    convention: BoxConvention, box: tuple[float, ...], anchor: tuple[float, ...]
) -> None:
    boxes = xywh_to_xyxy(torch.tensor([box], dtype=torch.float64))
    anchors = xywh_to_xyxy(torch.tensor([anchor], dtype=torch.float64))
    assert_close(convention.decode(convention.encode(boxes, anchors), anchors), boxes, atol=1e-9, rtol=1e-9)


def test_deltas_by_hand() -> None:
    anchors, boxes = boxes_of((0, 0, 9, 9)), boxes_of((5, 0, 14, 9))
    assert_close(INCLUSIVE.encode(boxes, anchors), boxes_of((5, 0, 0, 0)))  # 5 px of 10, times 10
    assert_close(PLAIN.encode(boxes, anchors), boxes_of((50 / 9, 0, 0, 0)))
    doubled = boxes_of((0, 0, 19, 9))
    assert_close(INCLUSIVE.encode(doubled, anchors)[0, 2].item(), 5 * 0.6931471805599453)


@both
def test_zero_deltas_give_the_anchors_back(convention: BoxConvention) -> None:
    anchors = random_boxes(6, 3)
    assert_close(convention.decode(torch.zeros(6, 4, dtype=torch.float64), anchors), anchors)


@both
def test_growth_is_bounded_so_that_no_box_becomes_infinite(convention: BoxConvention) -> None:
    anchors = boxes_of((0, 0, 16 - convention.end, 16 - convention.end))
    wild = convention.decode(boxes_of((0, 0, 1e4, 1e4)), anchors)
    side = wild[0, 2] - wild[0, 0] + convention.end
    assert_close(side.item(), 1000.0)  # 1000 / 16 times the anchor


# Clipping


def test_clipping_stops_at_the_border_or_at_the_last_pixel() -> None:
    boxes = boxes_of((-5, -5, 700, 500), (10, 20, 30, 40))
    assert PLAIN.clip(boxes, (480, 640)).tolist() == [[0, 0, 640, 480], [10, 20, 30, 40]]
    assert INCLUSIVE.clip(boxes, (480, 640)).tolist() == [[0, 0, 639, 479], [10, 20, 30, 40]]


# Suppression


def slow_suppress(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, convention: BoxConvention) -> Tensor:
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        rivals = [better for better in kept if labels[better] == labels[index]]
        if all(float(convention.iou(boxes[better], boxes[index])) <= threshold for better in rivals):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.int64)


def test_a_box_at_the_threshold_stays_and_one_above_it_falls() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 5))
    scores, labels = torch.tensor([0.9, 0.8]), torch.tensor([3, 3])
    assert PLAIN.suppress(boxes, scores, labels, 0.5).tolist() == [0, 1]
    assert PLAIN.suppress(boxes, scores, labels, 0.49).tolist() == [0]


def test_suppression_measures_overlap_in_its_own_convention() -> None:
    boxes, labels = boxes_of((0, 0, 9, 9), (0, 0, 9, 4)), torch.tensor([0, 0])  # IoU 4/9 plain, 1/2 inclusive
    scores = torch.tensor([0.9, 0.8])
    assert PLAIN.suppress(boxes, scores, labels, 0.45).tolist() == [0, 1]
    assert INCLUSIVE.suppress(boxes, scores, labels, 0.45).tolist() == [0]


def test_labels_do_not_suppress_each_other_and_the_best_comes_first() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 10), (0, 0, 10, 10))
    kept = PLAIN.suppress(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([1, 2, 1]), 0.5)
    assert kept.tolist() == [1, 2]


@both
def test_suppression_of_nothing_is_nothing(convention: BoxConvention) -> None:
    empty = torch.zeros(0)
    assert convention.suppress(empty.reshape(0, 4), empty, empty.long(), 0.5).tolist() == []


@both
@pytest.mark.parametrize("seed", range(5))
def test_suppression_equals_the_slow_one(convention: BoxConvention, seed: int) -> None:
    boxes = random_boxes(60, seed).float()
    rng = torch.Generator().manual_seed(seed)
    scores, labels = torch.rand(60, generator=rng), torch.randint(3, (60,), generator=rng)
    fast = convention.suppress(boxes, scores, labels, 0.3)
    assert fast.tolist() == slow_suppress(boxes.double(), scores, labels, 0.3, convention).tolist()
    assert 3 < len(fast) < 60  # the case is worth something


@pytest.mark.parametrize("shift", [0.0, 30_000.0, -30_000.0])
def test_suppression_stays_exact_with_2000_labels_and_large_coordinates(shift: float) -> None:
    """Twice the same two boxes an IoU of 0.5 ± 0.0001 apart, in every label."""
    pair = boxes_of((0, 0, 10, 10), (0, 0, 10, 4.999), (20, 0, 30, 10), (20, 0, 30, 5.001))
    boxes = (pair + shift).repeat(2000, 1)
    labels = torch.arange(2000).repeat_interleave(4)
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6]).repeat(2000)
    kept = PLAIN.suppress(boxes, scores, labels, 0.5)
    assert sorted(kept.tolist()) == [index for index in range(8000) if index % 4 != 3]


def test_boxes_left_of_the_origin_do_not_meet_those_of_another_label() -> None:
    boxes = boxes_of((0, 0, 50, 50), (-51, -51, -1, -1))
    kept = PLAIN.suppress(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), 0.5)
    assert kept.tolist() == [0, 1]


class WithoutDoubles(TorchFunctionMode):
    """Refuses float64, as Apple's accelerator does."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.dtype == torch.float64:
            raise TypeError(f"float64 made by {func}")
        return made


@both
def test_suppression_needs_no_float64(convention: BoxConvention) -> None:
    boxes, scores, labels = random_boxes(60, 0).float(), torch.rand(60), torch.arange(60) % 3
    with WithoutDoubles():
        assert len(convention.suppress(boxes, scores, labels, 0.3)) > 3


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_overlap_of_just_the_threshold_stays_in_every_precision(
    convention: BoxConvention, dtype: torch.dtype
) -> None:
    """3/5 and 7/10 are no binary fractions: float32 holds 0.6 as a little more."""
    end = convention.end
    boxes = boxes_of((0, 0, 10 - end, 10 - end), (0, 0, 10 - end, 6 - end), (0, 0, 10 - end, 7 - end)).to(dtype)
    scores, labels = torch.tensor([0.9, 0.8]), torch.tensor([0, 0])
    assert convention.suppress(boxes[:2], scores, labels, 0.6).tolist() == [0, 1]
    assert convention.suppress(boxes[[0, 2]], scores, labels, 0.6).tolist() == [0]
    assert convention.suppress(boxes[[0, 2]], scores, labels, 0.7).tolist() == [0, 1]


def test_equal_scores_keep_their_order_over_labels() -> None:
    boxes = random_boxes(30, 0, span=1e5, side=1.0).float()
    labels = torch.arange(30) % 7
    assert PLAIN.suppress(boxes, torch.full((30,), 0.5), labels, 0.5).tolist() == list(range(30))


def test_boxes_pass_the_doors_of_the_model_as_the_released_code_passes_them() -> None:
    """COCO's box (10, 10, 8, 8) is taught as the corners 10 and 17 of the image's own pixels, and comes back whole."""
    released, sizes = BoxConvention(inclusive=True, last_pixels=True), ((120, 60), (40, 30))
    box = boxes_of((10, 10, 18, 18))
    seen = scale_boxes(box, sizes[1], sizes[0])
    taught = released.entering(seen[None], torch.tensor([[2.0, 3.0]]))[0]
    assert taught.tolist() == [[20, 30, 17 * 2, 17 * 3]]
    assert_close(released.leaving(taught, *sizes), box)
    for convention in (PLAIN, INCLUSIVE):
        assert torch.equal(convention.entering(seen[None], torch.tensor([[2.0, 3.0]]))[0], seen)
        assert_close(convention.leaving(seen, *sizes), box)


def test_a_box_thinner_than_a_pixel_is_taught_as_that_pixel() -> None:
    thin = boxes_of((10, 10, 10.25, 30))
    assert BoxConvention(True, True).entering(thin[None], None)[0].tolist() == [[10, 10, 10, 29]]
