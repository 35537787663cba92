"""Claims about COCO AP of boxes and masks: pycocotools' numbers, cases done by hand, and refusals."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from detection_samples import FAR, PETS, SQUARE, Pairs, as_predictions, found, painted, random_pairs, truth

from glipv2.data.coco import CocoDataset
from glipv2.errors import UserError
from glipv2.metrics import detection_rows
from glipv2.metrics.coco import (
    CocoBoxAP,
    CocoMaskAP,
    CocoScores,
    coco_average_precision,
    coco_mask_average_precision,
    rows_average_precision,
    without_classes,
)
from glipv2.metrics.detection_rows import distinct_rows, visit_table
from glipv2.structures import ImageTruth, Vocabulary
from glipv2.structures.boxes import xyxy_to_xywh

PACK = Path(__file__).parents[3] / "shared" / "data" / "coco_mini"
needs_pack = pytest.mark.skipif(not PACK.is_dir(), reason=f"{PACK} is not here; it holds real COCO images")
NUMBERS = (
    "ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large",
    "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip


def scored(pairs: Pairs, vocabulary: Vocabulary = PETS, names: Sequence[str] | None = None) -> CocoScores:
    return coco_average_precision([one for one, _ in pairs], [one for _, one in pairs], vocabulary, names)


# Against pycocotools


def pycocotools_numbers(pairs: Pairs, labels: Sequence[int]) -> list[float]:
    coco = pytest.importorskip("pycocotools.coco").COCO
    evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval
    truths: list[dict[str, Any]] = []
    for _, own in pairs:
        columns = (xyxy_to_xywh(own.boxes), own.labels + 1, own.is_crowd.int(), own.areas)
        for box, label, crowd, area in zip(*(column.tolist() for column in columns), strict=True):
            record = {"id": len(truths) + 1, "image_id": own.image_id, "category_id": label, "bbox": box}
            truths.append({**record, "area": area, "iscrowd": crowd})
    results = [row for ours, own in pairs for row in ours.to_coco(own.image_id)]
    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco()
        reference.dataset = {
            "images": [{"id": own.image_id} for _, own in pairs],
            "annotations": truths,
            "categories": [{"id": 1 + label, "name": name} for label, name in enumerate(PETS.names)],
        }
        reference.createIndex()
        evaluator = evaluation(reference, reference.loadRes(results), "bbox")
        evaluator.params.catIds = [1 + label for label in labels]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(number) for number in evaluator.stats]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("labels", [(0, 1, 2), (2, 0)])
def test_random_data_score_as_in_pycocotools(seed: int, labels: tuple[int, ...]) -> None:
    pairs = random_pairs(seed)
    scores = scored(pairs, names=[PETS.names[label] for label in labels])
    ours = [getattr(scores, name) for name in NUMBERS]
    assert ours == pytest.approx(pycocotools_numbers(pairs, labels), abs=1e-9)
    assert len(set(ours)) > 4  # the data are worth comparing


@pytest.mark.parametrize("seed", range(2))
def test_classes_asked_in_portions_score_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scored(random_pairs(seed))
    monkeypatch.setattr(detection_rows, "LABELS_AT_ONCE", 1)
    assert scored(random_pairs(seed)) == whole


# Truth as its own prediction


@needs_pack
def test_real_truth_as_prediction_scores_one() -> None:
    dataset = CocoDataset(PACK / "annotations" / "instances_val2017.json", PACK / "images" / "val2017")
    pairs: Pairs = []
    for sample in (dataset[index] for index in range(len(dataset))):
        own = sample.instances
        about = (sample.image_id, sample.name, sample.image_size)
        objects = ImageTruth(*about, own.boxes, own.labels, own.is_crowd, own.areas)
        pairs.append((as_predictions(objects, dataset.vocabulary), objects))
    scores = scored(pairs, dataset.vocabulary, dataset.scored_names)
    numbers = [getattr(scores, name) for name in NUMBERS if name not in ("ar_1", "ar_10")]
    assert numbers == pytest.approx([1.0] * 10)
    present = {name for one, _ in pairs for name in one.names}
    assert scores.per_class == pytest.approx({name: 1 if name in present else -1 for name in dataset.vocabulary.names})


@pytest.mark.parametrize("seed", range(5))
def test_random_truth_as_prediction_scores_one(seed: int) -> None:
    pairs = [(as_predictions(objects, PETS), objects) for _, objects in random_pairs(seed)]
    assert scored(pairs).ap == pytest.approx(1)
    assert scored(pairs).ar_100 == pytest.approx(1)


# By hand


def test_one_of_two_objects_found_reaches_half_the_recall() -> None:
    scores = scored([(found([(SQUARE, 0.9, 0)]), truth([(SQUARE, 0), (FAR, 0)]))])
    assert scores.ap == pytest.approx(51 / 101)  # precision 1 at recalls 0.00 to 0.50 of 101
    assert scores.ar_100 == pytest.approx(0.5)


def test_a_better_scored_mistake_halves_the_precision() -> None:
    mistake_first = found([(FAR, 0.9, 0), (SQUARE, 0.8, 0)])
    mistake_last = found([(SQUARE, 0.9, 0), (FAR, 0.8, 0)])
    assert scored([(mistake_first, truth([(SQUARE, 0)]))]).ap == pytest.approx(0.5)
    assert scored([(mistake_last, truth([(SQUARE, 0)]))]).ap == pytest.approx(1)


def test_an_overlap_of_62_percent_counts_at_three_of_ten_thresholds() -> None:
    scores = scored([(found([((0, 0, 100, 62), 0.9, 0)]), truth([(SQUARE, 0)]))])
    assert (scores.ap, scores.ap_50, scores.ap_75) == pytest.approx((0.3, 1, 0))


def test_recall_counts_the_best_one_ten_and_hundred_detections() -> None:
    boxes = [(30 * k, 0, 30 * k + 20, 20) for k in range(20)]
    scores = scored([(found([(box, 0.9, 0) for box in boxes]), truth([(box, 0) for box in boxes]))])
    assert (scores.ar_1, scores.ar_10, scores.ar_100) == pytest.approx((1 / 20, 10 / 20, 1))


def test_the_given_area_decides_the_size_class() -> None:
    small = dataclasses.replace(truth([(SQUARE, 0)]), areas=torch.tensor([1000.0]))
    scores = scored([(found([(SQUARE, 0.9, 0)]), small)])
    assert (scores.ap_small, scores.ap_medium, scores.ap_large) == pytest.approx((1, -1, -1))
    assert (scores.ar_small, scores.ar_medium, scores.ar_large) == pytest.approx((1, -1, -1))


def test_detections_on_a_crowd_are_neither_right_nor_wrong() -> None:
    rows = [((0, 0, 50, 50), 0.99, 0), ((50, 50, 100, 100), 0.98, 0), (FAR, 0.5, 0)]
    objects = [(SQUARE, 0), (FAR, 0)]
    assert scored([(found(rows), truth(objects, crowd=[0]))]).ap == pytest.approx(1)
    assert scored([(found(rows), truth(objects))]).ap < 0.5  # as a normal object it would cost two mistakes


def test_nothing_found_scores_zero_where_there_is_truth() -> None:
    scores = scored([(found([]), truth([(SQUARE, 0), ((0, 0, 10, 10), 1)]))])
    assert [getattr(scores, name) for name in NUMBERS] == [0, 0, 0, 0, -1, 0, 0, 0, 0, 0, -1, 0]
    assert scores.per_class == {"cat": 0, "dog": 0, "red circle": -1}


def test_without_truth_every_number_is_undefined() -> None:
    for pairs in ([], [(found([(SQUARE, 0.9, 0)]), truth([]))]):
        scores = scored(pairs)
        assert {getattr(scores, name) for name in NUMBERS} == {-1.0}
        assert scores.per_class == {"cat": -1, "dog": -1, "red circle": -1}


def test_false_positives_on_an_image_without_truth_count() -> None:
    right = (found([(SQUARE, 0.8, 0)]), truth([(SQUARE, 0)], image_id=1))
    wrong = (found([(SQUARE, 0.9, 0)]), truth([], image_id=2))
    assert scored([right, wrong]).ap == pytest.approx(0.5)


# Names and ids


def test_only_scored_names_are_averaged() -> None:
    pairs = [(found([(SQUARE, 0.9, 0)]), truth([(SQUARE, 0), (FAR, 2)]))]
    assert scored(pairs).ap == pytest.approx(0.5)
    assert scored(pairs).per_class == pytest.approx({"cat": 1, "dog": -1, "red circle": 0})
    assert scored(pairs, names=["cat"]).per_class == pytest.approx({"cat": 1})
    assert scored(pairs, names=["red circle", "dog"]).per_class == {"red circle": 0, "dog": -1}
    assert scored(pairs, names=["cat"]).ap == pytest.approx(1)


def test_huge_category_ids_stay_apart() -> None:
    vocabulary = Vocabulary(("one", "other", "third"), (1, 2**32 + 1, 2**64 + 1))
    pairs = [(found([(SQUARE, 0.9, 1)], vocabulary), truth([(SQUARE, 1), (SQUARE, 0), (FAR, 2)]))]
    assert scored(pairs, vocabulary).per_class == pytest.approx({"one": 0, "other": 1, "third": 0})


def test_predictions_over_another_vocabulary_are_matched_by_name() -> None:
    other = Vocabulary(("red circle", "cat"), (5, 6))
    pairs = [(found([(SQUARE, 0.9, 1), (FAR, 0.8, 0)], other), truth([(SQUARE, 0), (FAR, 2)]))]
    assert scored(pairs).per_class == pytest.approx({"cat": 1, "dog": -1, "red circle": 1})
    with pytest.raises(UserError, match="category 'cats' is not in the vocabulary; did you mean 'cat'"):
        scored([(found([(SQUARE, 0.9, 0)], Vocabulary(("cats",))), truth([(SQUARE, 0)]))])


def test_names_that_cannot_be_scored_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="category 'dgo' is not in the vocabulary; did you mean 'dog'"):
        CocoBoxAP(PETS, ["dgo"])
    with pytest.raises(UserError, match="expected at least one name to score, but got none"):
        CocoBoxAP(PETS, [])


def test_numbers_that_would_falsify_the_score_are_refused() -> None:
    with pytest.raises(UserError, match="detections of image 1 are not finite"):
        scored([(found([(SQUARE, float("nan"), 0)]), truth([(SQUARE, 0)]))])
    with pytest.raises(UserError, match="truth of image 1 has label 3, but the vocabulary has only 3 names"):
        scored([(found([]), truth([(SQUARE, 3)]))])
    with pytest.raises(ValueError, match="expected one prediction an image, but got 0 for 1 images"):
        CocoBoxAP(PETS).update([], [truth([])])


def test_the_logged_names() -> None:
    flat = scored([(found([(SQUARE, 0.9, 2)]), truth([(SQUARE, 2)]))]).flat("detection")
    assert list(flat)[:3] == ["detection/box_ap", "detection/box_ap_50", "detection/box_ap_75"]
    assert list(flat)[-3:] == ["detection/box_ap/cat", "detection/box_ap/dog", "detection/box_ap/red circle"]
    assert len(flat) == 15
    assert flat["detection/box_ap/red circle"] == pytest.approx(1)


def test_nothing_is_printed_or_logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        scored(random_pairs(0))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_large_image_ids_are_kept_apart() -> None:
    first, second = truth([(SQUARE, 0)], image_id=2**53), truth([(SQUARE, 0)], image_id=2**53 + 1)
    pairs = [(found([(SQUARE, 0.9, 0)]), first), (found([]), second)]
    assert scored(pairs).ar_100 == pytest.approx(0.5)


def test_half_precision_detections_are_accepted() -> None:
    one, objects = found([(SQUARE, 0.5, 0)]), truth([(SQUARE, 0)])
    assert scored([(one.to(torch.bfloat16), objects)]).ap == pytest.approx(1)


# Masks

HALF = (0, 0, 50, 100)


def test_masks_count_and_not_their_boxes() -> None:
    one, own = found([(SQUARE, 0.9, 0)]), truth([(SQUARE, 0)])
    half = painted(torch.tensor([HALF]).float())
    scores = coco_mask_average_precision([one], [own], [half], [painted(own.boxes)], PETS)
    assert (scores.ap, scores.ap_50, scores.ap_75) == pytest.approx((0.1, 1, 0))  # IoU exactly 0.5
    assert scores.flat("x")["x/mask_ap_50"] == pytest.approx(1)
    assert scored([(one, own)]).ap == pytest.approx(1)


def test_an_unmatched_mask_is_sized_by_its_pixels_or_where_asked_by_its_box() -> None:
    corner = painted(torch.tensor([(300, 300, 310, 310)]).float())  # 100 pixels of a box of 100 x 100
    one, own = found([(FAR, 0.9, 0), (SQUARE, 0.8, 0)]), truth([(SQUARE, 0)])
    square = painted(own.boxes)
    large = {}
    for box_areas in (False, True):
        metric = CocoMaskAP(PETS, box_areas=box_areas)
        metric.update([one], [own], [[*corner, *square]], [square])
        large[box_areas] = metric.compute().ap_large
    assert large == pytest.approx({False: 1.0, True: 0.5})  # the mistake before it is ignored among the large


def test_masks_that_do_not_fit_are_refused() -> None:
    one, own = found([(SQUARE, 0.9, 0)]), truth([(SQUARE, 0)])
    mask = painted(own.boxes)
    small = {"size": [3, 4], "counts": [12]}
    with pytest.raises(ValueError, match=r"expected one mask a detection and object, \[\(1, 1\)\] an image, but got"):
        CocoMaskAP(PETS).update([one], [own], [[]], [mask])
    with pytest.raises(UserError, match=r"expected masks of image 1 to be 480 x 640 .* but got 3 x 4"):
        CocoMaskAP(PETS).update([one], [own], [[small]], [mask])
    with pytest.raises(UserError, match=r"expected run lengths with 'size' .* but got {'counts': 'x'}"):
        CocoMaskAP(PETS).update([one], [own], [[{"counts": "x"}]], [mask])
    with pytest.raises(UserError, match="category 'dgo' is not in the vocabulary; did you mean 'dog'"):
        CocoMaskAP(PETS, ["dgo"])


def test_without_classes_the_wrong_name_is_forgiven() -> None:
    pairs = [(found([(SQUARE, 0.9, 1), (FAR, 0.8, 2)]), truth([(SQUARE, 0), (FAR, 2)]))]
    rows = distinct_rows(visit_table([pairs[0][0]], [pairs[0][1]], PETS))
    assert scored(pairs).ap == pytest.approx(0.5)
    assert rows_average_precision(*without_classes(*rows), Vocabulary(("object",))).ap == pytest.approx(1)


def test_ap_is_the_mean_of_ap_by_iou() -> None:
    scores = scored([(found([((0, 0, 100, 62), 0.9, 0)]), truth([(SQUARE, 0)]))])
    assert scores.ap_by_iou == pytest.approx((1,) * 3 + (0,) * 7)
    assert scored([]).ap_by_iou == (-1,) * 10
