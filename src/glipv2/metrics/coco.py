"""COCO average precision of boxes and masks, through faster-coco-eval: the numbers of pycocotools, computed in C++."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from glipv2.errors import UserError
from glipv2.metrics.detection_rows import (
    MASKS,
    VISITS,
    FoundRows,
    ImageMasks,
    TruthRows,
    areas_of,
    detection_curves,
    distinct_rows,
    mask_table,
    mean_defined,
    visit_table,
)
from glipv2.metrics.tables import UNDEFINED, TableMetric
from glipv2.structures import Detections, ImageTruth, Vocabulary


@dataclass(frozen=True)
class CocoScores:
    """The twelve COCO numbers, and AP of each scored name; in [0, 1], or -1 where no object counts.

    ap: mean over IoU 0.50:0.95; small, medium, large: by area (32² and 96² pixels); ar_N: recall with N
    detections an image and class. ap_by_iou: AP at each of the ten thresholds. region: whose overlap was
    measured, "box" or "mask".
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
    ap_by_iou: tuple[float, ...] = ()

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger: "detection/box_ap", "detection/box_ap_50", …, "detection/box_ap/red circle", …"""
        own = f"{prefix}/{self.region}"
        numbers = {f"{own}_{name}": value for name, value in vars(self).items() if isinstance(value, float)}
        return numbers | {f"{own}_ap/{name}": value for name, value in self.per_class.items()}


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
    found, objects = distinct_rows(visit_table(predictions, truth, vocabulary))
    return rows_average_precision(found, objects, vocabulary, scored_names)


def coco_mask_average_precision(
    predictions: Sequence[Detections],
    truth: Sequence[ImageTruth],
    found_masks: ImageMasks,
    object_masks: ImageMasks,
    vocabulary: Vocabulary,
    scored_names: Sequence[str] | None = None,
) -> CocoScores:
    """Mask AP: the same with a mask for each detection and each object, as run lengths of the original image.

    An unmatched detection is small, medium or large by the area of its mask.
    """
    table = visit_table(predictions, truth, vocabulary)
    masks = mask_table(found_masks, object_masks, predictions, truth)
    found, objects = distinct_rows({**table, **masks})
    return rows_average_precision(found, objects, vocabulary, scored_names)


def rows_average_precision(
    found: FoundRows, truth: TruthRows, vocabulary: Vocabulary, scored_names: Sequence[str] | None = None
) -> CocoScores:
    """The same from flat rows, of boxes or of masks."""
    names = vocabulary.names if scored_names is None else tuple(scored_names)
    labels = scored_labels(names, vocabulary)
    # A class without an object has no AP and leaves every mean, so that its detections need no look.
    present = sorted(set(labels) & set(truth.labels.tolist()))
    curves = detection_curves(found, truth, present)
    precision, recall = curves.precision[..., -1], curves.recall[..., -1]
    by_label = {label: mean_defined(precision[:, :, k, 0]) for k, label in enumerate(present)}
    return CocoScores(
        ap=mean_defined(precision[:, :, :, 0]),
        ap_50=mean_defined(precision[0, :, :, 0]),
        ap_75=mean_defined(precision[5, :, :, 0]),
        ap_small=mean_defined(precision[:, :, :, 1]),
        ap_medium=mean_defined(precision[:, :, :, 2]),
        ap_large=mean_defined(precision[:, :, :, 3]),
        ar_1=mean_defined(curves.recall[:, :, 0, 0]),
        ar_10=mean_defined(curves.recall[:, :, 0, 1]),
        ar_100=mean_defined(curves.recall[:, :, 0, 2]),
        ar_small=mean_defined(recall[:, :, 1]),
        ar_medium=mean_defined(recall[:, :, 2]),
        ar_large=mean_defined(recall[:, :, 3]),
        per_class={name: by_label.get(label, UNDEFINED) for name, label in zip(names, labels, strict=True)},
        region="box" if found.masks is None else "mask",
        ap_by_iou=tuple(mean_defined(at[:, :, 0]) for at in precision),
    )


def scored_labels(names: Sequence[str], vocabulary: Vocabulary) -> list[int]:
    """The labels of names; UserError for none at all and for one that is unknown."""
    if not names:
        raise UserError("expected at least one name to score, but got none")
    return [vocabulary.label_of_name(name) for name in names]


def without_classes(found: FoundRows, truth: TruthRows) -> tuple[FoundRows, TruthRows]:
    """All classes as one, label 0; then the limits count detections of an image (pycocotools' useCats = 0).

    Equal scores of one image are ordered by class first, as there.
    """
    return _without_classes(found), _without_classes(truth)


def _without_classes(rows: Any) -> Any:
    by_class = rows.at(torch.argsort(rows.labels, stable=True))
    return dataclasses.replace(by_class, labels=torch.zeros_like(by_class.labels))


class CocoBoxAP(TableMetric):
    """Box AP over a data set, over all ranks; an image counts once, however often it was seen."""

    EMPTY = VISITS

    def __init__(self, vocabulary: Vocabulary, scored_names: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary = vocabulary
        self.scored_names = vocabulary.names if scored_names is None else tuple(scored_names)
        scored_labels(self.scored_names, vocabulary)  # an unknown name shows now, not after the first epoch

    def update(self, predictions: Sequence[Detections], truth: Sequence[ImageTruth]) -> None:
        """Adds one prediction an image, in the order of `truth`."""
        self.add(visit_table(predictions, truth, self.vocabulary))

    def compute(self) -> CocoScores:
        """The scores of everything seen since the last reset."""
        found, objects = distinct_rows(self.table())
        return rows_average_precision(found, objects, self.vocabulary, self.scored_names)


class CocoMaskAP(TableMetric):
    """Mask AP over a data set, over all ranks; an image counts once, however often it was seen.

    box_areas: an unmatched detection is small, medium or large by its box and not by its mask, which is
    what pycocotools does with results that carry both.
    """

    EMPTY = VISITS | MASKS

    def __init__(
        self,
        vocabulary: Vocabulary,
        scored_names: Sequence[str] | None = None,
        box_areas: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary = vocabulary
        self.scored_names = vocabulary.names if scored_names is None else tuple(scored_names)
        self.box_areas = box_areas
        scored_labels(self.scored_names, vocabulary)

    def update(
        self,
        predictions: Sequence[Detections],
        truth: Sequence[ImageTruth],
        found_masks: ImageMasks,
        object_masks: ImageMasks,
    ) -> None:
        """Adds one prediction an image, in the order of `truth`, with a mask for each detection and object."""
        table = visit_table(predictions, truth, self.vocabulary)
        self.add({**table, **mask_table(found_masks, object_masks, predictions, truth)})

    def compute(self) -> CocoScores:
        """The scores of everything seen since the last reset."""
        found, objects = distinct_rows(self.table())
        if self.box_areas:
            found = dataclasses.replace(found, areas=areas_of(dataclasses.replace(found, masks=None)))
        return rows_average_precision(found, objects, self.vocabulary, self.scored_names)
