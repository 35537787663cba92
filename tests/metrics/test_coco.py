"""Claims about COCO AP: the oracle's numbers, cases done by hand, and one result for any number of ranks."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from faster_coco_eval.core import mask as coco_mask  # type: ignore[import-untyped]
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from glipv2.data.coco import CocoDataset
from glipv2.errors import UserError
from glipv2.metrics.coco import CocoBoxAP, CocoScores, coco_average_precision, rows_average_precision
from glipv2.metrics.detection_rows import FoundRows, TruthRows
from glipv2.structures import Detections, ImageTruth, Vocabulary
from glipv2.structures.boxes import xywh_to_xyxy, xyxy_to_xywh

SHARED = Path(__file__).parents[3] / "shared"
ORACLE = SHARED / "oracles" / "coco_detection"
PACK = SHARED / "data" / "coco_mini"
needs_oracle = pytest.mark.skipif(not ORACLE.is_dir(), reason=f"{ORACLE} is not here; it holds pycocotools' numbers")
needs_pack = pytest.mark.skipif(not PACK.is_dir(), reason=f"{PACK} is not here; it holds real COCO images")

NAMES = {  # the oracle's and ours, in the order of pycocotools' twelve numbers
    "AP": "ap", "AP50": "ap_50", "AP75": "ap_75", "APs": "ap_small", "APm": "ap_medium", "APl": "ap_large",
    "AR1": "ar_1", "AR10": "ar_10", "AR100": "ar_100", "ARs": "ar_small", "ARm": "ar_medium", "ARl": "ar_large",
}  # fmt: skip
PETS = Vocabulary(("cat", "dog", "red circle"))

Pairs = list[tuple[Detections, ImageTruth]]


def found(rows: Sequence[tuple[Sequence[float], float, int]], vocabulary: Vocabulary = PETS) -> Detections:
    """Detections from (xyxy, score, label)."""
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Detections(corners, torch.tensor(scores), torch.tensor(labels).long(), (480, 640), vocabulary)


def truth(rows: Sequence[tuple[Sequence[float], int]], image_id: int = 1, crowd: Sequence[int] = ()) -> ImageTruth:
    """An image's objects from (xyxy, label); `crowd`: which of them are crowds."""
    boxes = torch.tensor([box for box, _ in rows], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([label for _, label in rows]).long()
    is_crowd = torch.tensor([index in crowd for index in range(len(rows))]).bool()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return ImageTruth(image_id, f"{image_id}.jpg", (480, 640), boxes, labels, is_crowd, areas)


def scored(pairs: Pairs, vocabulary: Vocabulary = PETS, names: Sequence[str] | None = None) -> CocoScores:
    return coco_average_precision([one for one, _ in pairs], [one for _, one in pairs], vocabulary, names)


def random_pairs(seed: int, images: int = 12) -> Pairs:
    """Images (ids not in order) on a coarse grid, so that scores and overlaps tie; crowds and empty ones among them."""
    rng = torch.Generator().manual_seed(seed)

    def boxes(count: int, scale: int) -> Tensor:
        corner = torch.randint(0, 20, (count, 2), generator=rng) * 8.0
        return torch.cat([corner, corner + torch.randint(1, scale, (count, 2), generator=rng) * 8.0], dim=1)

    pairs: Pairs = []
    for index in torch.randperm(images, generator=rng).tolist():
        objects, extra = (int(torch.randint(low, 7, (), generator=rng)) - 1 for low in (0, 0))
        objects, extra = max(objects, 0), max(extra, 0)
        own, labels = boxes(objects, 18), torch.randint(0, 3, (objects,), generator=rng)
        near = own + torch.randint(-1, 2, own.shape, generator=rng) * 4.0
        every, every_label = torch.cat([near, boxes(extra, 18)]), torch.cat([labels, labels.new_ones(extra)])
        scores = torch.randint(1, 6, (len(every),), generator=rng) / 5
        order = scores.argsort(descending=True, stable=True)
        detections = Detections(every[order], scores[order], every_label[order], (480, 640), PETS)
        crowd = torch.rand(objects, generator=rng) < 0.15
        areas = (own[:, 2:] - own[:, :2]).prod(dim=1) * 0.8
        pairs.append((detections, ImageTruth(index * 7 + 2, "", (480, 640), own, labels, crowd, areas)))
    return pairs


def vocabulary_of(gt: dict[str, Any]) -> Vocabulary:
    return Vocabulary(tuple(c["name"] for c in gt["categories"]), tuple(c["id"] for c in gt["categories"]))


def from_coco(gt: dict[str, Any], results: Sequence[dict[str, Any]]) -> tuple[Pairs, Vocabulary]:
    vocabulary = vocabulary_of(gt)

    def columns(records: Sequence[dict[str, Any]], image_id: int, number: str) -> list[Tensor]:
        own = [r for r in records if r["image_id"] == image_id]
        boxes = xywh_to_xyxy(torch.tensor([r["bbox"] for r in own]).float().reshape(-1, 4))
        labels = torch.tensor([vocabulary.label_of_id(r["category_id"]) for r in own]).long()
        return [
            boxes,
            torch.tensor([r[number] for r in own]),
            labels,
            torch.tensor([bool(r.get("iscrowd")) for r in own]),
        ]

    pairs: Pairs = []
    for image in gt["images"]:
        boxes, scores, labels, _ = columns(results, image["id"], "score")
        own, areas, own_labels, crowd = columns(gt["annotations"], image["id"], "area")
        objects = ImageTruth(image["id"], "", (480, 640), own, own_labels, crowd.bool(), areas)
        pairs.append((Detections(boxes, scores, labels, (480, 640), vocabulary), objects))
    return pairs, vocabulary


def assert_is_expected(scores: CocoScores, expected: dict[str, Any], vocabulary: Vocabulary, case: str) -> None:
    for theirs, ours in NAMES.items():
        assert getattr(scores, ours) == pytest.approx(expected["stats"][theirs], abs=1e-6), (case, ours)
    assert len(expected["per_category"]) == len(scores.per_class)
    for category_id, numbers in expected["per_category"].items():
        name = vocabulary.names[vocabulary.label_of_id(int(category_id))]
        assert scores.per_class[name] == pytest.approx(numbers["AP"], abs=1e-6), (case, name)


# Against the oracle and pycocotools


@needs_oracle
def test_every_number_of_the_oracle() -> None:
    gt, results = (json.loads((ORACLE / f"{name}.json").read_text()) for name in ("gt", "predictions_bbox"))
    expected = json.loads((ORACLE / "expected.json").read_text())["bbox"]
    pairs, vocabulary = from_coco(gt, results)
    assert len(expected["per_category"]) == 80
    assert_is_expected(scored(pairs, vocabulary), expected, vocabulary, "main")
    assert metric_of(pairs, vocabulary=vocabulary).compute() == scored(pairs, vocabulary)


@needs_oracle
def test_every_edge_case_of_the_oracle() -> None:
    cases = [case for case in json.loads((ORACLE / "edge_cases.json").read_text()) if "predictions_bbox" in case]
    assert len(cases) > 40
    for case in cases:
        pairs, vocabulary = from_coco(case["gt"], case["predictions_bbox"])
        assert_is_expected(scored(pairs, vocabulary), case["expected"]["bbox"], vocabulary, case["name"])


@needs_oracle
def test_rows_with_masks_give_the_mask_numbers_of_the_oracle() -> None:
    gt, results = (json.loads((ORACLE / f"{name}.json").read_text()) for name in ("gt", "predictions_segm"))
    vocabulary, order = vocabulary_of(gt), sorted(image["id"] for image in gt["images"])
    sizes = {image["id"]: (image["height"], image["width"]) for image in gt["images"]}

    def run_lengths(record: dict[str, Any]) -> Any:
        whole = coco_mask.frPyObjects(record["segmentation"], *sizes[record["image_id"]])
        return coco_mask.merge(whole) if isinstance(whole, list) else whole

    def columns(records: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        labels = torch.tensor([vocabulary.label_of_id(r["category_id"]) for r in records])
        index = torch.tensor([order.index(r["image_id"]) for r in records])
        return {"image_index": index, "labels": labels, "boxes": torch.zeros(len(records), 4)}

    scores = torch.tensor([r["score"] for r in results])
    found_rows = FoundRows(**columns(results), scores=scores, masks=[r["segmentation"] for r in results])
    truth_rows = TruthRows(
        **columns(gt["annotations"]),
        is_crowd=torch.tensor([bool(r["iscrowd"]) for r in gt["annotations"]]),
        areas=torch.tensor([r["area"] for r in gt["annotations"]]),
        masks=[run_lengths(r) for r in gt["annotations"]],
    )
    scored_masks = rows_average_precision(found_rows, truth_rows, vocabulary)
    expected = json.loads((ORACLE / "expected.json").read_text())["segm"]
    assert_is_expected(scored_masks, expected, vocabulary, "masks")
    assert set(scored_masks.flat("t")) >= {"t/mask_ap", "t/mask_ap/person"}


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
    ours = [getattr(scores, name) for name in NAMES.values()]
    assert ours == pytest.approx(pycocotools_numbers(pairs, labels), abs=1e-9)
    assert len(set(ours)) > 4  # the data are worth comparing


# Truth as its own prediction


def as_predictions(objects: ImageTruth, vocabulary: Vocabulary) -> Detections:
    real = ~objects.is_crowd
    scores = torch.linspace(1, 0.5, int(real.sum()))
    return Detections(objects.boxes[real], scores, objects.labels[real], objects.image_size, vocabulary)


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
    numbers = [getattr(scores, name) for name in NAMES.values() if name not in ("ar_1", "ar_10")]
    assert numbers == pytest.approx([1.0] * 10)
    present = {name for one, _ in pairs for name in one.names}
    assert scores.per_class == pytest.approx({name: 1 if name in present else -1 for name in dataset.vocabulary.names})


@pytest.mark.parametrize("seed", range(5))
def test_random_truth_as_prediction_scores_one(seed: int) -> None:
    pairs = [(as_predictions(objects, PETS), objects) for _, objects in random_pairs(seed)]
    assert scored(pairs).ap == pytest.approx(1)
    assert scored(pairs).ar_100 == pytest.approx(1)


# By hand

SQUARE, FAR = (0, 0, 100, 100), (300, 300, 400, 400)


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
    assert [getattr(scores, name) for name in NAMES.values()] == [0, 0, 0, 0, -1, 0, 0, 0, 0, 0, -1, 0]
    assert scores.per_class == {"cat": 0, "dog": 0, "red circle": -1}


def test_without_truth_every_number_is_undefined() -> None:
    for pairs in ([], [(found([(SQUARE, 0.9, 0)]), truth([]))]):
        scores = scored(pairs)
        assert {getattr(scores, name) for name in NAMES.values()} == {-1.0}
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


# The metric


def metric_of(pairs: Pairs, batch: int = 5, vocabulary: Vocabulary = PETS) -> CocoBoxAP:
    metric = CocoBoxAP(vocabulary)
    for first in range(0, len(pairs), batch):
        part = pairs[first : first + batch]
        metric.update([one for one, _ in part], [one for _, one in part])
    return metric


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_neither_batches_nor_the_order_of_images_change_a_number(batch: int) -> None:
    pairs = random_pairs(1)
    assert metric_of(pairs, batch).compute() == metric_of(pairs[::-1], batch).compute() == scored(pairs)


def test_an_image_seen_twice_counts_once() -> None:
    pairs = random_pairs(2)
    twice = [*pairs, *pairs[3:8]]
    assert scored(twice) == scored(pairs)
    assert metric_of(twice).compute() == scored(pairs)
    as_two = [(one, dataclasses.replace(own, image_id=own.image_id + 1000)) for one, own in pairs[3:8]]
    assert scored([*pairs, *as_two]) != scored(pairs)  # the doubles are worth dropping


def test_large_image_ids_are_kept_apart() -> None:
    first, second = truth([(SQUARE, 0)], image_id=2**53), truth([(SQUARE, 0)], image_id=2**53 + 1)
    pairs = [(found([(SQUARE, 0.9, 0)]), first), (found([]), second)]
    assert scored(pairs).ar_100 == pytest.approx(0.5)


def test_the_metric_goes_on_after_compute_and_begins_anew_after_reset() -> None:
    pairs = random_pairs(3)
    metric = metric_of(pairs[:6])
    assert metric.compute() == scored(pairs[:6])
    metric.update([one for one, _ in pairs[6:]], [one for _, one in pairs[6:]])
    assert metric.compute() == scored(pairs)
    assert pickle.loads(pickle.dumps(metric)).compute() == scored(pairs)
    metric.reset()
    metric.update([pairs[0][0]], [pairs[0][1]])
    assert metric.compute() == scored(pairs[:1])


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_a_metric_that_saw_nothing_is_undefined() -> None:
    assert CocoBoxAP(PETS).compute() == scored([])


def test_half_precision_detections_are_accepted() -> None:
    one, objects = found([(SQUARE, 0.5, 0)]), truth([(SQUARE, 0)])
    assert metric_of([(one.to(torch.bfloat16), objects)]).compute().ap == pytest.approx(1)


# Two ranks, as processes of their own. This file is also the program that starts them.

Shares = tuple[Pairs, Pairs]


def scenarios() -> dict[str, Shares]:
    """What each of two ranks sees."""
    pairs = random_pairs(4)
    unfound = [(found([]), objects) for _, objects in pairs]
    nothing = [(found([]), truth([], image_id)) for image_id in (500, 501)]
    return {
        "halves": (pairs[::2], pairs[1::2]),
        "padded by repeating": (pairs[::2], [*pairs[1::2], pairs[0], pairs[2]]),
        "second rank idle": (pairs, []),
        "first rank idle": ([], pairs),
        "second rank has neither objects nor detections": (pairs, nothing),
        "no detection anywhere": (unfound[:7], unfound[7:]),
        "no object anywhere": (nothing[:1], nothing[1:]),
        "nothing at all": ([], []),
    }


def rank_main(rank: int, folder: Path) -> None:
    """Scores of every scenario as this rank computes them, as JSON; the first half is computed on the way."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    answers = {}
    for name, shares in scenarios().items():
        metric = metric_of(shares[rank][:2])
        metric.compute()  # must leave each rank with its own rows, and an idle one ready for the next exchange
        for one, objects in shares[rank][2:]:
            metric.update([one], [objects])
        answers[name] = metric.compute().flat("two")
    (folder / f"rank{rank}.json").write_text(json.dumps(answers))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def answers_of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, float]]]:
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-W", "ignore", __file__, str(folder)], env=environment, timeout=240, check=True)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", list(scenarios()))
def test_two_ranks_agree_with_one_process(name: str, answers_of_ranks: list[dict[str, dict[str, float]]]) -> None:
    first, second = scenarios()[name]
    alone = scored([*first, *second]).flat("two")
    assert answers_of_ranks[0][name] == pytest.approx(alone)
    assert answers_of_ranks[1][name] == pytest.approx(alone)


if __name__ == "__main__":  # forked, so that torch is imported once and not by each rank; no tensor exists yet
    start_processes(rank_main, args=(Path(sys.argv[1]),), nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]
