"""COCO average precision, through faster-coco-eval: the numbers of pycocotools, computed in C++."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from faster_coco_eval.core import COCO, COCOeval_faster
from faster_coco_eval.core import mask as coco_mask
from torch import Tensor
from torchmetrics import Metric

from glipv2.errors import UserError
from glipv2.structures import Detections, ImageTruth, Vocabulary
from glipv2.structures.boxes import xyxy_to_xywh

UNDEFINED = -1.0  # what COCO gives where no object counts

RunLengths = Mapping[str, Any]  # a compressed COCO mask: {"size": [height, width], "counts": ...}


@dataclass(frozen=True)
class CocoScores:
    """The twelve COCO numbers, and AP of each scored name; in [0, 1], or -1 where no object counts.

    ap: mean over IoU 0.50:0.95; small, medium, large: by area (32² and 96² pixels); ar_N: recall with N
    detections an image and class. region: whose overlap was measured, "box" or "mask".
    """

    ap: float
    ap_50: float
    ap_75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_1: float
    ar_10: float
    ar_100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    per_class: dict[str, float]
    region: str = "box"

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger: "detection/box_ap", "detection/box_ap_50", …, "detection/box_ap/red circle", …"""
        own = f"{prefix}/{self.region}"
        numbers = {f"{own}_{name}": value for name, value in vars(self).items() if isinstance(value, float)}
        return numbers | {f"{own}_ap/{name}": value for name, value in self.per_class.items()}


@dataclass(frozen=True)
class FoundRows:
    """Detections of many images in flat rows; within an image best first, as ties are broken in this order.

    image_index int64 [D], rising with the image id; labels int64 [D]; scores float [D]; boxes float
    [D, 4] xyxy. With `masks` their overlap counts instead of that of the boxes.
    """

    image_index: Tensor
    labels: Tensor
    scores: Tensor
    boxes: Tensor
    masks: Sequence[RunLengths] | None = None


@dataclass(frozen=True)
class TruthRows:
    """Annotated objects of many images in flat rows: as FoundRows, with is_crowd bool [G] and areas float [G]."""

    image_index: Tensor
    labels: Tensor
    is_crowd: Tensor
    areas: Tensor
    boxes: Tensor
    masks: Sequence[RunLengths] | None = None


def coco_average_precision(
    predictions: Sequence[Detections],
    truth: Sequence[ImageTruth],
    vocabulary: Vocabulary,
    scored_names: Sequence[str] | None = None,
) -> CocoScores:
    """Box AP of one prediction an image, averaged over `scored_names` (all when None).

    Boxes of both in the pixels of the original image. An image that occurs twice counts once.
    Raises UserError for a name that is not in the vocabulary and for numbers that are not finite.
    """
    found, objects = _distinct(_table(predictions, truth, vocabulary))
    return rows_average_precision(found, objects, vocabulary, scored_names)


def rows_average_precision(
    found: FoundRows, truth: TruthRows, vocabulary: Vocabulary, scored_names: Sequence[str] | None = None
) -> CocoScores:
    """The same from flat rows, of boxes or of masks."""
    names = vocabulary.names if scored_names is None else tuple(scored_names)
    labels = _labels(names, vocabulary)
    # A class without an object has no AP and leaves every mean, so that its detections need no look.
    present = sorted(set(labels) & set(truth.labels.tolist()))
    curves = _curves(found, truth, present) if present else NO_CURVES
    by_label = {label: _mean(curves.precision[:, :, k, 0, -1]) for k, label in enumerate(present)}
    per_class = {name: by_label.get(label, UNDEFINED) for name, label in zip(names, labels, strict=True)}
    precision, recall = curves.precision[..., -1], curves.recall[..., -1]
    return CocoScores(
        ap=_mean(precision[:, :, :, 0]),
        ap_50=_mean(precision[0, :, :, 0]),
        ap_75=_mean(precision[5, :, :, 0]),
        ap_small=_mean(precision[:, :, :, 1]),
        ap_medium=_mean(precision[:, :, :, 2]),
        ap_large=_mean(precision[:, :, :, 3]),
        ar_1=_mean(curves.recall[:, :, 0, 0]),
        ar_10=_mean(curves.recall[:, :, 0, 1]),
        ar_100=_mean(curves.recall[:, :, 0, 2]),
        ar_small=_mean(recall[:, :, 1]),
        ar_medium=_mean(recall[:, :, 2]),
        ar_large=_mean(recall[:, :, 3]),
        per_class=per_class,
        region="box" if found.masks is None else "mask",
    )


def _labels(names: Sequence[str], vocabulary: Vocabulary) -> list[int]:
    if not names:
        raise UserError("expected at least one name to score, but got none")
    return [vocabulary.label_of_name(name) for name in names]


class _Curves(NamedTuple):
    """precision [T, R, K, A, M] and recall [T, K, A, M]: 10 IoU thresholds, 101 recalls, K classes,
    4 areas (all, small, medium, large), at most 1, 10, 100 detections. -1 where undefined."""

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


NO_CURVES = _Curves(np.zeros((10, 101, 0, 4, 3)), np.zeros((10, 0, 4, 3)))


def _curves(found: FoundRows, truth: TruthRows, labels: Sequence[int]) -> _Curves:
    """Runs the evaluator on the classes `labels`, each of which has an object."""
    found_records, truth_records = _records(found, labels), _records(truth, labels)
    images = sorted({record["image_id"] for record in found_records + truth_records})
    evaluator = COCOeval_faster(
        _coco(truth_records, images, labels),
        _coco(found_records, images, labels),
        iouType="bbox" if found.masks is None else "segm",
        print_function=_silent,
    )
    evaluator.evaluate()
    evaluator.accumulate()
    return _Curves(evaluator.eval["precision"], evaluator.eval["recall"])


def _records(rows: FoundRows | TruthRows, labels: Sequence[int]) -> list[dict[str, Any]]:
    """The evaluator's annotations. Labels stand in for category ids, which may be too large for it."""
    own = torch.isin(rows.labels, torch.tensor(labels)).nonzero().flatten()
    boxes = xyxy_to_xywh(rows.boxes[own].double())
    columns: dict[str, list[Any]] = {
        "id": list(range(1, len(own) + 1)),  # 0 means "not matched" to it
        "image_id": rows.image_index[own].tolist(),
        "category_id": rows.labels[own].tolist(),
        "bbox": boxes.tolist(),
        "area": boxes[:, 2:].prod(dim=1).tolist(),
        "iscrowd": [0] * len(own),
    }
    if rows.masks is not None:
        columns["segmentation"] = [rows.masks[row] for row in own.tolist()]
        columns["area"] = [float(coco_mask.area(mask)) for mask in columns["segmentation"]]
    if isinstance(rows, FoundRows):
        columns["score"] = rows.scores[own].tolist()
    else:
        columns |= {"area": rows.areas[own].tolist(), "iscrowd": rows.is_crowd[own].int().tolist()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


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


def _mean(values: npt.NDArray[np.float64]) -> float:
    defined = values[values > UNDEFINED]
    return float(defined.mean()) if defined.size else UNDEFINED


# Tables: what the metric keeps and exchanges. One visit is one image of one update; its rows follow those of
# the visit before, so that tables of several ranks may simply be joined.
EMPTY = {
    "visits": torch.zeros(0, 3, dtype=torch.int64),  # image id, number of detections, number of objects
    "found": torch.zeros(0, 5, dtype=torch.float32),  # box, score
    "found_labels": torch.zeros(0, dtype=torch.int64),
    "objects": torch.zeros(0, 5, dtype=torch.float32),  # box, area
    "object_labels": torch.zeros(0, 2, dtype=torch.int64),  # label, is_crowd
}
Table = Mapping[str, Tensor]


def _table(predictions: Sequence[Detections], truth: Sequence[ImageTruth], vocabulary: Vocabulary) -> Table:
    if len(predictions) != len(truth):
        raise ValueError(f"expected one prediction an image, but got {len(predictions)} for {len(truth)} images")
    parts: dict[str, list[Tensor]] = {name: [empty] for name, empty in EMPTY.items()}
    for found, objects in zip(predictions, truth, strict=True):
        _check(found, objects, vocabulary)
        parts["visits"].append(torch.tensor([[objects.image_id, len(found), len(objects.labels)]]))
        parts["found"].append(torch.cat([found.boxes, found.scores[:, None]], dim=1))
        parts["found_labels"].append(_in_vocabulary(found, vocabulary))
        parts["objects"].append(torch.cat([objects.boxes, objects.areas[:, None]], dim=1))
        parts["object_labels"].append(torch.stack([objects.labels, objects.is_crowd.to(objects.labels)], dim=1))
    return {name: torch.cat([part.detach().to(EMPTY[name]) for part in parts[name]]) for name in EMPTY}


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


def _distinct(table: Table) -> tuple[FoundRows, TruthRows]:
    """The rows of each image's first visit; samplers repeat images so that all ranks get as many."""
    ids, found_counts, object_counts = table["visits"].unbind(dim=1)
    _, first, index = np.unique(ids.numpy(), return_index=True, return_inverse=True)
    kept = torch.zeros(len(ids), dtype=torch.bool)
    kept[torch.from_numpy(first)] = True
    image_index = torch.from_numpy(index)
    own, own_objects = kept.repeat_interleave(found_counts), kept.repeat_interleave(object_counts)
    found, objects, flags = table["found"][own], table["objects"][own_objects], table["object_labels"][own_objects]
    return (
        FoundRows(
            image_index=image_index.repeat_interleave(found_counts)[own],
            labels=table["found_labels"][own],
            scores=found[:, 4],
            boxes=found[:, :4],
        ),
        TruthRows(
            image_index=image_index.repeat_interleave(object_counts)[own_objects],
            labels=flags[:, 0],
            is_crowd=flags[:, 1].bool(),
            areas=objects[:, 4],
            boxes=objects[:, :4],
        ),
    )


class CocoBoxAP(Metric):
    """Box AP over a data set, over all ranks; an image counts once, however often it was seen.

    States live on the CPU and travel to the GPU only for an exchange that needs it.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, vocabulary: Vocabulary, scored_names: Sequence[str] | None = None, **kwargs: Any) -> None:
        # A rank with a cached result would stay away from the exchange and leave the others waiting.
        super().__init__(**{"compute_with_cache": False, **kwargs})
        self.vocabulary = vocabulary
        self.scored_names = vocabulary.names if scored_names is None else tuple(scored_names)
        _labels(self.scored_names, vocabulary)  # an unknown name shows now, not after the first epoch
        for name in EMPTY:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, predictions: Sequence[Detections], truth: Sequence[ImageTruth]) -> None:
        """Adds one prediction an image, in the order of `truth`."""
        for name, rows in _table(predictions, truth, self.vocabulary).items():
            getattr(self, name).append(rows)

    def compute(self) -> CocoScores:
        """The scores of everything seen since the last reset."""
        found, objects = _distinct(self._joined(torch.device("cpu")))
        return rows_average_precision(found, objects, self.vocabulary, self.scored_names)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Joins the ranks. One that saw nothing sends empty rows of the right kind, or the exchange would hang."""
        for name, rows in self._joined(_exchange_device()).items():
            setattr(self, name, [rows])
        super().sync(*args, **kwargs)

    def _joined(self, device: torch.device) -> Table:
        states = {name: getattr(self, name) for name in EMPTY}  # lists, or one tensor after an exchange
        parts = {name: [state] if isinstance(state, Tensor) else state for name, state in states.items()}
        return {name: torch.cat([rows.to(device) for rows in (EMPTY[name], *parts[name])]) for name in EMPTY}

    def _wrap_compute(self, compute: Callable[..., CocoScores]) -> Callable[..., CocoScores]:
        # torchmetrics walks through results and refuses frozen dataclasses; sealed ones it hands on untouched.
        sealed = super()._wrap_compute(lambda: _Sealed(compute()))
        return functools.wraps(compute)(lambda: sealed().scores)


class _Sealed:
    def __init__(self, scores: CocoScores) -> None:
        self.scores = scores


def _exchange_device() -> torch.device:
    """Where tensors must lie to be sent between ranks: NCCL knows only GPUs."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.device("cuda" if distributed and torch.distributed.get_backend() == "nccl" else "cpu")
