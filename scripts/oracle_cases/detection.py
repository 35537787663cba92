"""The folders coco_detection and lvis."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from glipv2.errors import UserError
from glipv2.metrics.coco import CocoBoxAP, CocoMaskAP, CocoScores, rows_average_precision, without_classes
from glipv2.metrics.detection_rows import FoundRows, TruthRows, areas_of, distinct_rows
from glipv2.metrics.lvis import FIXED, NORMAL, Limits, LvisBoxAP, LvisMaskAP, LvisScores
from glipv2.metrics.run_lengths import RunLengths, compressed, polygon_run_lengths
from glipv2.structures import Detections, ImageTruth, Vocabulary
from glipv2.structures.boxes import xywh_to_xyxy
from glipv2.structures.truth import LvisTruth
from oracle_cases.case import Case, read

Record = dict[str, Any]
COCO_STATS = {
    "AP": "ap", "AP50": "ap_50", "AP75": "ap_75", "APs": "ap_small", "APm": "ap_medium", "APl": "ap_large",
    "AR1": "ar_1", "AR10": "ar_10", "AR100": "ar_100", "ARs": "ar_small", "ARm": "ar_medium", "ARl": "ar_large",
}  # fmt: skip
LVIS_STATS = {
    "AP": "ap", "AP50": "ap_50", "AP75": "ap_75", "APs": "ap_small", "APm": "ap_medium", "APl": "ap_large",
    "APr": "ap_rare", "APc": "ap_common", "APf": "ap_frequent",
}  # fmt: skip
RECALLS = {"AR": "ar", "ARs": "ar_small", "ARm": "ar_medium", "ARl": "ar_large"}
BATCH = 7  # images an update


@dataclasses.dataclass(frozen=True)
class Images:
    """A COCO file with results for it, image by image; masks where the results are masks."""

    vocabulary: Vocabulary
    predictions: list[Detections]
    truth: list[ImageTruth] | list[LvisTruth]
    found_masks: list[list[RunLengths]] | None
    object_masks: list[list[RunLengths]] | None
    masks_with_boxes: bool = False


def coco_cases(folder: Path) -> Iterator[Case]:
    """The main set, boxes and masks, then every edge case."""
    gt, expected = read(folder / "gt.json"), read(folder / "expected.json")
    for task in ("bbox", "segm"):
        results = read(folder / f"predictions_{task}.json")
        yield Case(task, _coco_numbers(expected[task]), partial(_coco, gt, results, task))
    for case in read(folder / "edge_cases.json"):
        for task, numbers in case["expected"].items():
            results = case[f"predictions_{task}"]
            yield Case(f"{case['name']}/{task}", _coco_numbers(numbers), partial(_coco, case["gt"], results, task))


def _coco_numbers(expected: Record) -> Record:
    names = ("stats", "per_category", "class_agnostic_stats", "raises")
    return {name: expected[name] for name in names if name in expected}


def _coco(gt: Record, results: Sequence[Record], task: str) -> Record:
    images = _images(gt, results, task)
    metric: CocoBoxAP | CocoMaskAP
    if task == "bbox":
        metric = CocoBoxAP(images.vocabulary)
    else:
        metric = CocoMaskAP(images.vocabulary, box_areas=images.masks_with_boxes)
    for part in _batches(images):
        metric.update(*part)
    found, truth = distinct_rows(metric.table())
    if images.masks_with_boxes:
        found = dataclasses.replace(found, areas=areas_of(dataclasses.replace(found, masks=None)))
    return {
        "stats": _coco_stats(metric.compute()),
        "per_category": _coco_classes(found, truth, images.vocabulary),
        "class_agnostic_stats": _coco_stats(
            rows_average_precision(*without_classes(found, truth), Vocabulary(("object",)))
        ),
    }


def _coco_stats(scores: CocoScores) -> Record:
    return {theirs: getattr(scores, ours) for theirs, ours in COCO_STATS.items()}


def _coco_classes(found: FoundRows, truth: TruthRows, vocabulary: Vocabulary) -> Record:
    numbers = {}
    for name, category_id in zip(vocabulary.names, vocabulary.category_ids, strict=True):
        scores = rows_average_precision(found, truth, vocabulary, [name])
        numbers[str(category_id)] = _coco_stats(scores) | {"AP_per_iou": scores.ap_by_iou}
    return numbers


def lvis_cases(folder: Path) -> Iterator[Case]:
    """The main set, normal, fixed and fixed with a small budget, boxes and masks, then every edge case."""
    gt, expected = read(folder / "gt.json"), read(folder / "expected.json")
    for protocol, tasks in expected.items():
        if protocol != "normal" and not protocol.startswith("fixed"):
            continue
        limits = NORMAL if protocol == "normal" else Limits(a_class=tasks.get("topk_per_class", FIXED.a_class))
        for task in ("bbox", "segm"):
            if task in tasks:
                results = read(folder / f"predictions_{task}.json")
                yield Case(f"{protocol}/{task}", _numbers(tasks[task]), partial(_lvis, gt, results, task, limits))
    for case in read(folder / "edge_cases.json"):
        for protocol, numbers in case["expected"].items():
            limits = NORMAL if protocol == "normal" else Limits(a_class=case["topk_per_class"])
            for task in ("bbox", "segm"):
                if f"predictions_{task}" in case:
                    measure = partial(_lvis, case["gt"], case[f"predictions_{task}"], task, limits)
                    yield Case(f"{case['name']}/{protocol}/{task}", _numbers(numbers.get(task, numbers)), measure)


def _numbers(expected: Record) -> Record:
    return {name: expected[name] for name in ("stats", "per_category", "raises") if name in expected}


def _lvis(gt: Record, results: Sequence[Record], task: str, limits: Limits) -> Record:
    images = _images(gt, results, task)
    truth = [own for own in images.truth if isinstance(own, ImageTruth)]
    label = images.vocabulary.label_of_id
    judged = [
        LvisTruth(
            objects,
            tuple(label(one) for one in image["neg_category_ids"]),
            tuple(label(one) for one in image["not_exhaustive_category_ids"]),
        )
        for objects, image in zip(truth, gt["images"], strict=True)
    ]
    kind = LvisBoxAP if task == "bbox" else LvisMaskAP
    metric = kind(images.vocabulary, [category["frequency"] for category in gt["categories"]], limits)
    for part in _batches(dataclasses.replace(images, truth=judged)):
        metric.update(*part)
    scores: LvisScores = metric.compute()
    recalled = {f"{theirs}@{limits.an_image or -1}": getattr(scores, ours) for theirs, ours in RECALLS.items()}
    ids = zip(images.vocabulary.names, images.vocabulary.category_ids, strict=True)
    by_class = (scores.per_class, scores.per_class_50, scores.per_class_75)
    return {
        "stats": {theirs: getattr(scores, ours) for theirs, ours in LVIS_STATS.items()} | recalled,
        "per_category": {
            str(own): dict(zip(("AP", "AP50", "AP75"), (every[name] for every in by_class), strict=True))
            for name, own in ids
        },
    }


def _batches(images: Images) -> Iterator[tuple[Any, ...]]:
    columns = (images.predictions, images.truth, images.found_masks, images.object_masks)
    given = [column for column in columns if column is not None]
    for first in range(0, len(images.truth), BATCH):
        yield tuple(column[first : first + BATCH] for column in given)


def _images(gt: Record, results: Sequence[Record], task: str) -> Images:
    categories = gt["categories"]
    # names of other people's files may repeat; ids may not
    vocabulary = Vocabulary(tuple(f"{own['id']}" for own in categories), tuple(own["id"] for own in categories))
    found, objects = _by_image(results), _by_image(gt["annotations"])
    sizes = {image["id"]: (image["height"], image["width"]) for image in gt["images"]}
    ids = list(sizes)
    unknown = {record["image_id"] for record in (*results, *gt["annotations"])} - set(ids)
    if unknown:
        raise UserError(
            f"{len(unknown)} images of results or annotations are not among the images, first {min(unknown)}"
        )
    masks = task == "segm"
    return Images(
        vocabulary,
        [_detections(found[image_id], sizes[image_id], vocabulary) for image_id in ids],
        [_truth(objects[image_id], image_id, sizes[image_id], vocabulary) for image_id in ids],
        [[compressed(own["segmentation"]) for own in found[image_id]] for image_id in ids] if masks else None,
        [[_mask(own, sizes[image_id]) for own in objects[image_id]] for image_id in ids] if masks else None,
        masks_with_boxes=masks and bool(results) and bool(results[0].get("bbox")),
    )


def _by_image(records: Sequence[Record]) -> Mapping[int, list[Record]]:
    groups: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        groups[record["image_id"]].append(record)
    return groups


def _mask(record: Record, size: tuple[int, int]) -> RunLengths:
    given = record["segmentation"]
    return polygon_run_lengths(given, size) if isinstance(given, list) else compressed(given)


def _boxes(records: Sequence[Record]) -> torch.Tensor:
    boxes = [record.get("bbox") or (0, 0, 0, 0) for record in records]
    return xywh_to_xyxy(torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4))


def _labels(records: Sequence[Record], vocabulary: Vocabulary) -> torch.Tensor:
    return torch.tensor([vocabulary.label_of_id(record["category_id"]) for record in records], dtype=torch.int64)


def _detections(records: Sequence[Record], size: tuple[int, int], vocabulary: Vocabulary) -> Detections:
    scores = torch.tensor([record["score"] for record in records], dtype=torch.float64)
    return Detections(_boxes(records), scores, _labels(records, vocabulary), size, vocabulary)


def _truth(records: Sequence[Record], image_id: int, size: tuple[int, int], vocabulary: Vocabulary) -> ImageTruth:
    crowd = torch.tensor([bool(record.get("iscrowd")) for record in records], dtype=torch.bool)
    areas = torch.tensor([record["area"] for record in records], dtype=torch.float64)
    return ImageTruth(image_id, "", size, _boxes(records), _labels(records, vocabulary), crowd, areas)
