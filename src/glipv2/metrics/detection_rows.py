"""Detections and objects of many images in flat rows: how metrics keep them, and how faster-coco-eval compares them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from faster_coco_eval.core import COCO, COCOeval_faster
from faster_coco_eval.core import mask as coco_mask
from torch import Tensor

from glipv2.errors import UserError
from glipv2.metrics.run_lengths import RunLengths, compressed
from glipv2.metrics.tables import (
    NO_BYTES,
    NO_LENGTHS,
    UNDEFINED,
    Table,
    first_visits,
    packed,
    stacked,
    unpacked,
)
from glipv2.structures import Detections, ImageTruth, Vocabulary
from glipv2.structures.boxes import xyxy_to_xywh

LABELS_AT_ONCE = 100  # the evaluator keeps something for every pair of image and class; that bounds it


@dataclass(frozen=True)
class FoundRows:
    """Detections of many images in flat rows; within an image best first, as ties are broken in this order.

    image_index int64 [D], rising with the image id; labels int64 [D]; scores float [D]; boxes float
    [D, 4] xyxy. With `masks` their overlap counts instead of that of the boxes. areas float [D]: what
    decides whether an unmatched detection is small, medium or large; without, that of the mask or box.
    """

    image_index: Tensor
    labels: Tensor
    scores: Tensor
    boxes: Tensor
    masks: Sequence[RunLengths] | None = None
    areas: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Tensor) -> FoundRows:
        """Only these rows (int64 indices), in this order."""
        return _at(self, rows)


@dataclass(frozen=True)
class TruthRows:
    """Annotated objects of many images in flat rows: as FoundRows, with is_crowd bool [G] and areas float [G]."""

    image_index: Tensor
    labels: Tensor
    is_crowd: Tensor
    areas: Tensor
    boxes: Tensor
    masks: Sequence[RunLengths] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Tensor) -> TruthRows:
        """Only these rows (int64 indices), in this order."""
        return _at(self, rows)


Rows = TypeVar("Rows", FoundRows, TruthRows)


def _at(rows: Rows, own: Tensor) -> Rows:
    columns = {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}
    taken = {name: column[own] for name, column in columns.items() if isinstance(column, Tensor)}
    masks = None if rows.masks is None else [rows.masks[row] for row in own.tolist()]
    return dataclasses.replace(rows, **taken, masks=masks)


class Curves(NamedTuple):
    """precision [T, R, K, A, M] and recall [T, K, A, M]: 10 IoU thresholds, 101 recalls, K classes,
    4 areas (all, small, medium, large), M limits on the detections of an image and class. -1 where undefined."""

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


def mean_defined(values: npt.NDArray[np.float64]) -> float:
    """The mean of what is defined."""
    defined = values[values > UNDEFINED]
    return float(defined.mean()) if defined.size else UNDEFINED


def detection_curves(
    found: FoundRows, truth: TruthRows, labels: Sequence[int], most: Sequence[int] = (1, 10, 100)
) -> Curves:
    """Precision and recall of classes that have an object; `labels` and the limits `most` are rising."""
    portions = _portions(truth, labels)
    if not portions:
        return Curves(np.zeros((10, 101, 0, 4, len(most))), np.zeros((10, 0, 4, len(most))))
    parts = [_curves_at_once(found, truth, portion, most) for portion in portions]
    order = np.argsort(np.concatenate(portions))
    precision = np.concatenate([part.precision for part in parts], axis=2)[:, :, order]
    return Curves(precision, np.concatenate([part.recall for part in parts], axis=1)[:, order])


def _portions(truth: TruthRows, labels: Sequence[int]) -> list[list[int]]:
    """Classes that stand in about as many images together, so that a rare one is asked only in few images."""
    counts = torch.bincount(truth.labels, minlength=max(labels, default=0) + 1).tolist()
    rising = sorted(labels, key=lambda label: counts[label])
    return [sorted(rising[first : first + LABELS_AT_ONCE]) for first in range(0, len(rising), LABELS_AT_ONCE)]


def _curves_at_once(found: FoundRows, truth: TruthRows, labels: list[int], most: Sequence[int]) -> Curves:
    found_records, truth_records = _records(found, labels), _records(truth, labels)
    images = sorted({record["image_id"] for record in found_records + truth_records})
    evaluator = COCOeval_faster(
        _coco(truth_records, images, labels),
        _coco(found_records, images, labels),
        iouType="bbox" if found.masks is None else "segm",
        print_function=_silent,
    )
    evaluator.params.maxDets = list(most)
    evaluator.evaluate()
    evaluator.accumulate()
    return Curves(evaluator.eval["precision"], evaluator.eval["recall"])


def _records(rows: FoundRows | TruthRows, labels: Sequence[int]) -> list[dict[str, Any]]:
    """The evaluator's annotations. Labels stand in for category ids, which may be too large for it."""
    own = rows.at(torch.isin(rows.labels, torch.tensor(labels)).nonzero().flatten())
    boxes = xyxy_to_xywh(own.boxes.double())
    columns: dict[str, list[Any]] = {
        "id": list(range(1, len(own) + 1)),  # 0 means "not matched" to it
        "image_id": own.image_index.tolist(),
        "category_id": own.labels.tolist(),
        "bbox": boxes.tolist(),
        "area": areas_of(own).tolist(),
        "iscrowd": [0] * len(own),
    }
    if own.masks is not None:
        columns["segmentation"] = list(own.masks)
    if isinstance(own, FoundRows):
        columns["score"] = own.scores.tolist()
    else:
        columns["iscrowd"] = own.is_crowd.int().tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def areas_of(rows: FoundRows | TruthRows) -> Tensor:
    """Areas [N] in pixels²: those given, else of the masks, else of the boxes."""
    if rows.areas is not None:
        return rows.areas
    if rows.masks is not None:
        areas = coco_mask.area([dict(mask) for mask in rows.masks]) if len(rows) else []
        return torch.tensor(areas, dtype=torch.float64)
    return xyxy_to_xywh(rows.boxes.double())[:, 2:].prod(dim=1)


def _coco(records: list[dict[str, Any]], images: Sequence[int], labels: Sequence[int]) -> Any:
    index = COCO(print_function=_silent)
    index.dataset = {
        "images": [{"id": image, "height": 0, "width": 0} for image in images],  # run lengths know their size
        "annotations": records,
        "categories": [{"id": label, "name": str(label)} for label in labels],
    }
    index.createIndex()
    return index


def _silent(*_: Any) -> None:
    """The evaluator's print function."""


# What a metric keeps. One visit is one image of one update; its rows follow those of the visit before.
VISITS: dict[str, Tensor] = {
    "visits": torch.zeros(0, 3, dtype=torch.int64),  # image id, number of detections, number of objects
    "found": torch.zeros(0, 5, dtype=torch.float32),  # box, score
    "found_labels": torch.zeros(0, dtype=torch.int64),
    "objects": torch.zeros(0, 5, dtype=torch.float32),  # box, area
    "object_labels": torch.zeros(0, 2, dtype=torch.int64),  # label, is_crowd
}
MASKS: dict[str, Tensor] = {
    "found_masks": NO_BYTES,
    "found_mask_lengths": NO_LENGTHS,
    "object_masks": NO_BYTES,
    "object_mask_lengths": NO_LENGTHS,
    "mask_sizes": torch.zeros(0, 2, dtype=torch.int64),  # height, width of each visit's masks
}
ImageMasks = Sequence[Sequence[RunLengths]]  # of each image, one mask a row


def visit_table(predictions: Sequence[Detections], truth: Sequence[ImageTruth], vocabulary: Vocabulary) -> Table:
    """VISITS of one prediction an image. Raises UserError for unknown names and numbers that are not finite."""
    if len(predictions) != len(truth):
        raise ValueError(f"expected one prediction an image, but got {len(predictions)} for {len(truth)} images")
    parts: dict[str, list[Tensor]] = {name: [] for name in VISITS}
    for found, objects in zip(predictions, truth, strict=True):
        _check(found, objects, vocabulary)
        parts["visits"].append(torch.tensor([[objects.image_id, len(found), len(objects.labels)]]))
        parts["found"].append(torch.cat([found.boxes, found.scores[:, None]], dim=1))
        parts["found_labels"].append(_in_vocabulary(found, vocabulary))
        parts["objects"].append(torch.cat([objects.boxes, objects.areas[:, None]], dim=1))
        parts["object_labels"].append(torch.stack([objects.labels, objects.is_crowd.to(objects.labels)], dim=1))
    return stacked(parts, VISITS)


def _check(found: Detections, objects: ImageTruth, vocabulary: Vocabulary) -> None:
    if not (found.boxes.isfinite().all() and found.scores.isfinite().all()):
        raise UserError(f"detections of image {objects.image_id} are not finite; has the training diverged?")
    labels = objects.labels
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(vocabulary):
        raise UserError(
            f"truth of image {objects.image_id} has label {int(labels.max())}, but the vocabulary has only "
            f"{len(vocabulary)} names; give the vocabulary of this data set"
        )


def _in_vocabulary(found: Detections, vocabulary: Vocabulary) -> Tensor:
    """Labels int64 [K] of a prediction, by name where it speaks another vocabulary."""
    if found.vocabulary == vocabulary:
        return found.labels
    return torch.tensor([vocabulary.label_of_name(name) for name in found.names], dtype=torch.int64)


def mask_table(
    found_masks: ImageMasks, object_masks: ImageMasks, predictions: Sequence[Detections], truth: Sequence[ImageTruth]
) -> Table:
    """MASKS that go with the rows of `visit_table`: a mask for each detection and each object."""
    counts = [(len(found), len(objects.labels)) for found, objects in zip(predictions, truth, strict=True)]
    given = [(len(found), len(objects)) for found, objects in zip(found_masks, object_masks, strict=True)]
    if given != counts:
        raise ValueError(f"expected one mask a detection and object, {counts} an image, but got {given}")
    sizes: list[list[int]] = []
    counts_of: dict[str, list[bytes]] = {"found": [], "object": []}
    for objects, found_of, objects_of in zip(truth, found_masks, object_masks, strict=True):
        height, width = objects.image_size
        sizes.append([height, width])
        for kind, masks in (("found", found_of), ("object", objects_of)):
            plain = [compressed(mask) for mask in masks]
            if any(mask["size"] != [height, width] for mask in plain):
                raise UserError(
                    f"expected masks of image {objects.image_id} to be {height} x {width} (height x width), but got "
                    f"{' x '.join(map(str, next(m['size'] for m in plain if m['size'] != [height, width])))}"
                )
            counts_of[kind] += [mask["counts"] for mask in plain]
    columns = {"mask_sizes": torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)}
    for kind, texts in counts_of.items():
        columns[f"{kind}_masks"], columns[f"{kind}_mask_lengths"] = packed(texts)
    return columns


def distinct_rows(table: Table) -> tuple[FoundRows, TruthRows]:
    """The rows of each image's first visit, with masks where the table has them."""
    ids, found_counts, object_counts = table["visits"].unbind(dim=1)
    kept, rank = first_visits(ids)
    own = kept.repeat_interleave(found_counts).nonzero().flatten()
    own_objects = kept.repeat_interleave(object_counts).nonzero().flatten()
    found, objects, flags = table["found"], table["objects"], table["object_labels"]
    every_found = FoundRows(
        image_index=rank.repeat_interleave(found_counts),
        labels=table["found_labels"],
        scores=found[:, 4],
        boxes=found[:, :4],
        masks=_masks(table, "found", found_counts),
    )
    every_object = TruthRows(
        image_index=rank.repeat_interleave(object_counts),
        labels=flags[:, 0],
        is_crowd=flags[:, 1].bool(),
        areas=objects[:, 4],
        boxes=objects[:, :4],
        masks=_masks(table, "object", object_counts),
    )
    return every_found.at(own), every_object.at(own_objects)


def _masks(table: Table, kind: str, counts: Tensor) -> list[RunLengths] | None:
    if "mask_sizes" not in table:
        return None
    sizes = table["mask_sizes"].repeat_interleave(counts, dim=0).tolist()
    texts = unpacked(table[f"{kind}_masks"], table[f"{kind}_mask_lengths"])
    return [{"size": size, "counts": text} for size, text in zip(sizes, texts, strict=True)]
