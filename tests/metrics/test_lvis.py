"""Claims about LVIS AP: what is judged, what is pardoned, and the two limits; cases done by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from detection_samples import FAR, PETS, SQUARE, found, painted, random_pairs, truth

from glipv2.errors import UserError
from glipv2.metrics.coco import coco_average_precision
from glipv2.metrics.lvis import FIXED, NORMAL, Limits, LvisBoxAP, LvisMaskAP, LvisScores, lvis_average_precision
from glipv2.structures import Detections, Vocabulary
from glipv2.structures.truth import LvisTruth

FREQUENCIES = ("f", "c", "r")  # of cat, dog, red circle
CAT, DOG, CIRCLE = range(3)
Pair = tuple[Detections, LvisTruth]


def scored(*pairs: Pair, limits: Limits = NORMAL) -> LvisScores:
    return lvis_average_precision([one for one, _ in pairs], [own for _, own in pairs], PETS, FREQUENCIES, limits)


def judged(
    rows: Sequence[tuple[Sequence[float], int]],
    negative: Sequence[int] = (),
    partly: Sequence[int] = (),
    image_id: int = 1,
) -> LvisTruth:
    return LvisTruth(truth(rows, image_id), tuple(negative), tuple(partly))


MISTAKE_FIRST = [(FAR, 0.9, CAT), (SQUARE, 0.8, CAT)]


def test_a_mistake_counts_where_the_class_is_annotated_or_known_to_be_absent() -> None:
    here = (found([(SQUARE, 0.8, CAT)]), judged([(SQUARE, CAT)]))
    wrong = found([(FAR, 0.9, CAT)])
    assert scored(here, (wrong, judged([], negative=[CAT], image_id=2))).ap == pytest.approx(0.5)
    assert scored(here, (wrong, judged([(SQUARE, DOG)], image_id=2))).per_class["cat"] == pytest.approx(1)
    assert scored((found(MISTAKE_FIRST), judged([(SQUARE, CAT)]))).ap == pytest.approx(0.5)


def test_leftovers_of_a_class_that_is_not_exhaustively_annotated_are_ignored() -> None:
    assert scored((found(MISTAKE_FIRST), judged([(SQUARE, CAT)], partly=[CAT]))).ap == pytest.approx(1)
    assert scored((found(MISTAKE_FIRST), judged([(SQUARE, CAT)], partly=[DOG]))).ap == pytest.approx(0.5)
    elsewhere = (found([]), judged([(SQUARE, CAT)], partly=[CAT], image_id=2))
    assert scored((found(MISTAKE_FIRST), judged([(SQUARE, CAT)])), elsewhere).ap < 0.5


def test_a_pardon_does_not_take_what_is_matched() -> None:
    twice = found([(SQUARE, 0.9, CAT), (SQUARE, 0.8, CAT)])
    scores = scored((twice, judged([(SQUARE, CAT), (FAR, CAT)], partly=[CAT])))
    assert scores.ap == pytest.approx(51 / 101)
    assert scores.ar == pytest.approx(0.5)


def test_groups_are_means_over_their_classes_and_ap_over_all() -> None:
    rows = [(SQUARE, 0.9, CAT), (SQUARE, 0.9, DOG)]
    scores = scored((found(rows), judged([(SQUARE, CAT), (SQUARE, DOG), (FAR, DOG)])))
    assert (scores.ap_frequent, scores.ap_common, scores.ap_rare) == pytest.approx((1, 51 / 101, -1))
    assert scores.ap == pytest.approx((1 + 51 / 101) / 2)
    assert scores.per_class == pytest.approx({"cat": 1, "dog": 51 / 101, "red circle": -1})


def test_detections_without_area_are_dropped() -> None:
    line = ((0, 0, 0, 100), 0.9, CAT)
    assert scored((found([line, (SQUARE, 0.8, CAT)]), judged([(SQUARE, CAT)]))).ap == pytest.approx(1)


def test_the_limit_of_an_image_is_over_all_classes_and_fixed_ap_has_none() -> None:
    noise = [((5 * k, 300, 5 * k + 4, 310), 0.9, CIRCLE) for k in range(300)]
    pair = (found([*noise, (SQUARE, 0.5, CAT)]), judged([(SQUARE, CAT)]))
    assert scored(pair).ap == 0
    assert scored(pair, limits=FIXED).ap == pytest.approx(1)
    better = (found([*noise[1:], (SQUARE, 0.5, CAT)]), judged([(SQUARE, CAT)]))
    assert scored(better).ap == pytest.approx(1)


def test_the_budget_of_a_class_is_over_all_images_and_of_equals_the_lower_image_stays() -> None:
    first = (found([(SQUARE, 0.5, CAT), (SQUARE, 0.9, DOG)]), judged([(SQUARE, CAT), (SQUARE, DOG)], image_id=1))
    second = (found([(SQUARE, 0.5, CAT)]), judged([(FAR, CAT)], image_id=2))
    one = Limits(a_class=1)
    for pairs in ([first, second], [second, first]):
        scores = scored(*pairs, limits=one)
        assert scores.per_class == pytest.approx({"cat": 51 / 101, "dog": 1, "red circle": -1})
    assert scored(first, second, limits=FIXED).per_class["cat"] == pytest.approx(51 / 101)
    swapped = (found([(SQUARE, 0.5, CAT)]), judged([(FAR, CAT)], image_id=0))
    assert scored(first, swapped, limits=one).per_class["cat"] == 0


def test_where_everything_is_judged_it_is_coco_ap() -> None:
    for seed in range(3):
        pairs = [
            (one, own)
            for one, own in random_pairs(seed)
            if not own.is_crowd.any() and (one.boxes[:, 2:] > one.boxes[:, :2]).all()  # LVIS drops boxes without area
        ]
        coco = coco_average_precision([one for one, _ in pairs], [own for _, own in pairs], PETS)
        lvis = scored(*((one, LvisTruth(own, (0, 1, 2))) for one, own in pairs))
        same = ("ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large", "ar_small", "per_class")
        assert [getattr(lvis, name) for name in same] == [getattr(coco, name) for name in same]
        assert lvis.ar == coco.ar_100


def test_masks_are_pardoned_too() -> None:
    one, own = found(MISTAKE_FIRST), judged([(SQUARE, CAT)], partly=[CAT])
    for partly, expected in (((CAT,), 1.0), ((), 0.5)):
        metric = LvisMaskAP(PETS, FREQUENCIES)
        metric.update([one], [LvisTruth(own.objects, (), partly)], [painted(one.boxes)], [painted(own.objects.boxes)])
        assert metric.compute().ap == pytest.approx(expected)


def test_the_logged_names_say_region_and_protocol() -> None:
    pair = (found([(SQUARE, 0.9, CAT)]), judged([(SQUARE, CAT)]))
    flat = scored(pair).flat("lvis")
    assert list(flat)[:2] == ["lvis/box_ap", "lvis/box_ap_50"]
    assert {"lvis/box_ap_rare", "lvis/box_ap_common", "lvis/box_ap_frequent", "lvis/box_ar"} <= set(flat)
    assert len(flat) == 13  # a thousand classes are no curves
    assert "lvis/box_fixed_ap_rare" in scored(pair, limits=FIXED).flat("lvis")


def test_wrong_frequencies_and_labels_are_refused() -> None:
    with pytest.raises(UserError, match="expected a frequency for each of 3 names, but got 2"):
        LvisBoxAP(PETS, ["f", "c"])
    with pytest.raises(UserError, match="expected frequencies r, c and f, but got 'rare'"):
        LvisBoxAP(PETS, ["f", "c", "rare"])
    with pytest.raises(UserError, match="image 1 is judged for a label outside of 3 names"):
        scored((found([]), judged([], negative=[3])))


def test_many_classes_and_images_are_scored_in_flat_rows() -> None:
    names = Vocabulary(tuple(f"name {k}" for k in range(250)))
    pairs = []
    for image_id in range(30):
        labels = torch.arange(image_id * 8, image_id * 8 + 8) % 250
        boxes = torch.arange(8)[:, None] * torch.tensor([[20, 0, 20, 0]]) + torch.tensor([[0, 0, 15, 15]])
        own = truth([(box, label) for box, label in zip(boxes.tolist(), labels.tolist(), strict=True)], image_id)
        scores = torch.linspace(1, 0.1, 8)
        pairs.append((Detections(own.boxes, scores, own.labels, own.image_size, names), LvisTruth(own)))
    found_in, judged_of = zip(*pairs, strict=True)
    scores_of = lvis_average_precision(found_in, judged_of, names, ["f"] * 250)
    assert scores_of.ap == pytest.approx(1)
    assert sum(value > 0 for value in scores_of.per_class.values()) == 240


@pytest.mark.parametrize("limits", [Limits(an_image=2), Limits(a_class=3), FIXED, NORMAL])
def test_what_is_forgotten_on_the_way_changes_no_number(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(one, LvisTruth(objects, (0,), (1,) * (at % 3 == 0))) for at, (one, objects) in enumerate(random_pairs(3))]
    whole = scored(*pairs, limits=limits)
    monkeypatch.setattr("glipv2.metrics.lvis.ROWS_HELD", 5)
    metric = LvisBoxAP(PETS, FREQUENCIES, limits)
    for one, own in pairs:
        metric.update([one], [own])
    assert metric.compute() == whole
    held = len(metric.table()["found"])
    assert held <= sum(len(one) for one, _ in pairs)
    if limits.a_class == 3:
        assert held <= 3 * len(PETS) + 2 * 5 + max(len(one) for one, _ in pairs)
    if limits.an_image == 2:
        assert held <= 2 * len(pairs)
