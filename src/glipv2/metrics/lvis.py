"""LVIS average precision of boxes and masks, normal (300 detections an image) and fixed (10 000 a class)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from glipv2.errors import UserError, nearest
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
from glipv2.metrics.run_lengths import run_lengths
from glipv2.metrics.tables import UNDEFINED, Table, TableMetric, first_visits
from glipv2.structures import Detections, Vocabulary
from glipv2.structures.truth import LvisTruth

FREQUENCIES = ("r", "c", "f")  # rare, common, frequent: in up to 10, up to 100, more training images
ROWS_HELD = 4_000_000  # detections between two looks for those that can't count any more; 28 bytes each
ANYWHERE = 1e8  # pixels; half a side of a box that holds every detection


class Limits(NamedTuple):
    """How many of the best detections count; None: all of them."""

    an_image: int | None = None
    a_class: int | None = None


NORMAL = Limits(an_image=300)
FIXED = Limits(a_class=10_000)


@dataclass(frozen=True)
class LvisScores:
    """LVIS numbers in [0, 1], or -1 where no object counts.

    ap: mean over IoU 0.50:0.95 and classes; rare, common, frequent: over the classes of that frequency;
    small, medium, large: by area; ar: recall with all detections kept. per_class: AP of each name.
    protocol: "normal" or "fixed"; region: "box" or "mask".
    """

    ap: float
    ap_50: float
    ap_75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ap_rare: float
    ap_common: float
    ap_frequent: float
    ar: float
    ar_small: float
    ar_medium: float
    ar_large: float
    per_class: dict[str, float]
    per_class_50: dict[str, float]
    per_class_75: dict[str, float]
    region: str = "box"
    protocol: str = "normal"

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger, without the classes: "lvis/box_ap", "lvis/box_ap_rare", …; fixed: "lvis/box_fixed_ap", …"""
        own = f"{prefix}/{self.region}" + "_fixed" * (self.protocol == "fixed")
        return {f"{own}_{name}": value for name, value in vars(self).items() if isinstance(value, float)}


@dataclass(frozen=True)
class Judged:
    """Of which images and classes something is known besides the objects, as pairs int64 [n, 2] (image_index, label).

    negative: no such object is there. not_exhaustive: some may lack annotation. image_sizes int64 [I, 2]:
    (height, width) by image_index.
    """

    negative: Tensor
    not_exhaustive: Tensor
    image_sizes: Tensor


def lvis_average_precision(
    predictions: Sequence[Detections],
    truth: Sequence[LvisTruth],
    vocabulary: Vocabulary,
    frequencies: Sequence[str],
    limits: Limits = NORMAL,
) -> LvisScores:
    """Box AP of one prediction an image; `frequencies` gives "r", "c" or "f" for each name of the vocabulary.

    An image that occurs twice counts once. Boxes in the pixels of the original image.
    """
    found, objects, judged = _distinct(_table(predictions, truth, vocabulary))
    return rows_lvis_precision(found, objects, judged, vocabulary, frequencies, limits)


def rows_lvis_precision(
    found: FoundRows,
    truth: TruthRows,
    judged: Judged,
    vocabulary: Vocabulary,
    frequencies: Sequence[str],
    limits: Limits = NORMAL,
) -> LvisScores:
    """The same from flat rows, of boxes or of masks."""
    groups = _groups(frequencies, vocabulary)
    truth = truth.at((areas_of(truth) > 0).nonzero().flatten())
    counted = _judged(_within(found, limits), truth, judged, len(vocabulary))
    present = sorted(set(truth.labels.tolist()))
    curves = detection_curves(counted, _with_pardons(truth, judged), present, (max(len(counted), 1),))
    precision, recall = curves.precision[..., 0], curves.recall[..., 0]

    def by_name(values: Any) -> dict[str, float]:
        means = {label: mean_defined(values[:, :, k]) for k, label in enumerate(present)}
        return {name: means.get(label, UNDEFINED) for label, name in enumerate(vocabulary.names)}

    every = precision[..., 0]
    rare, common, frequent = (mean_defined(every[:, :, np.isin(present, group)]) for group in groups)
    return LvisScores(
        ap=mean_defined(every),
        ap_50=mean_defined(every[0]),
        ap_75=mean_defined(every[5]),
        ap_small=mean_defined(precision[..., 1]),
        ap_medium=mean_defined(precision[..., 2]),
        ap_large=mean_defined(precision[..., 3]),
        ap_rare=rare,
        ap_common=common,
        ap_frequent=frequent,
        ar=mean_defined(recall[..., 0]),
        ar_small=mean_defined(recall[..., 1]),
        ar_medium=mean_defined(recall[..., 2]),
        ar_large=mean_defined(recall[..., 3]),
        per_class=by_name(every),
        per_class_50=by_name(every[:1]),
        per_class_75=by_name(every[5:6]),
        region="box" if found.masks is None else "mask",
        protocol="fixed" if limits.an_image is None else "normal",
    )


def _groups(frequencies: Sequence[str], vocabulary: Vocabulary) -> list[list[int]]:
    """The labels of the rare, the common and the frequent classes."""
    if len(frequencies) != len(vocabulary):
        raise UserError(f"expected a frequency for each of {len(vocabulary)} names, but got {len(frequencies)}")
    for frequency in set(frequencies) - set(FREQUENCIES):
        raise UserError(f"expected frequencies r, c and f, but got '{frequency}'; {nearest(frequency, FREQUENCIES)}")
    return [[label for label, own in enumerate(frequencies) if own == group] for group in FREQUENCIES]


def _within(found: FoundRows, limits: Limits) -> FoundRows:
    """The best of each image over all classes, then the best of each class over all images."""
    if limits.an_image is not None:
        found = found.at(_best_of_each(found.image_index, found, limits.an_image))
    if limits.a_class is not None:
        found = found.at(_best_of_each(found.labels, found, limits.a_class))
    return found


def _best_of_each(group: Tensor, found: FoundRows, most: int) -> Tensor:
    """Rows, in their order, that are among the `most` best of their group; of equal scores the earlier image's."""
    order = np.lexsort((found.image_index.numpy(), -found.scores.numpy(), group.numpy()))
    ordered = group.numpy()[order]
    begins = np.searchsorted(ordered, ordered)
    return torch.from_numpy(np.sort(order[np.arange(len(order)) - begins < most]))


def _judged(found: FoundRows, truth: TruthRows, judged: Judged, classes: int) -> FoundRows:
    """Detections of some area whose class is annotated in their image, or known not to be there."""

    def pairs(image_index: Tensor, labels: Tensor) -> Tensor:
        return image_index * classes + labels

    known = torch.cat([pairs(truth.image_index, truth.labels), pairs(*judged.negative.unbind(dim=1))])
    own = found.at(torch.isin(pairs(found.image_index, found.labels), known).nonzero().flatten())
    return own.at((areas_of(own) > 0).nonzero().flatten())


def _with_pardons(truth: TruthRows, judged: Judged) -> TruthRows:
    """Objects, and for each image's not exhaustively annotated classes a crowd that covers everything.

    A detection takes a real object where it can; what is left over falls to the crowd and is ignored, which
    is LVIS's rule for such classes.
    """
    image_index, labels = judged.not_exhaustive.unbind(dim=1)
    count = len(labels)
    everywhere = truth.boxes.new_tensor([-ANYWHERE, -ANYWHERE, ANYWHERE, ANYWHERE]).expand(count, 4)
    masks = None
    if truth.masks is not None:
        sizes = judged.image_sizes[image_index].tolist()
        masks = [*truth.masks, *(run_lengths(torch.ones(1, *size, dtype=torch.bool))[0] for size in sizes)]
    return TruthRows(
        image_index=torch.cat([truth.image_index, image_index]),
        labels=torch.cat([truth.labels, labels]),
        is_crowd=torch.cat([torch.zeros(len(truth), dtype=torch.bool), torch.ones(count, dtype=torch.bool)]),
        areas=torch.cat([truth.areas, truth.areas.new_ones(count)]),
        boxes=torch.cat([truth.boxes, everywhere]),
        masks=masks,
    )


JUDGEMENTS: dict[str, Tensor] = {
    "judgements": torch.zeros(0, 2, dtype=torch.int64),  # label, 0: negative or 1: not exhaustive
    "judgement_counts": torch.zeros(0, dtype=torch.int64),  # of each visit
    "image_sizes": torch.zeros(0, 2, dtype=torch.int64),  # height, width of each visit
}


def _table(predictions: Sequence[Detections], truth: Sequence[LvisTruth], vocabulary: Vocabulary) -> dict[str, Tensor]:
    table = visit_table(predictions, [own.objects for own in truth], vocabulary)
    judgements = [
        [*((label, 0) for label in own.negative_labels), *((label, 1) for label in own.not_exhaustive_labels)]
        for own in truth
    ]
    for own, rows in zip(truth, judgements, strict=True):
        if any(not 0 <= label < len(vocabulary) for label, _ in rows):
            raise UserError(f"image {own.objects.image_id} is judged for a label outside of {len(vocabulary)} names")
    return {
        **table,
        "judgements": torch.tensor([row for rows in judgements for row in rows], dtype=torch.int64).reshape(-1, 2),
        "judgement_counts": torch.tensor([len(rows) for rows in judgements], dtype=torch.int64),
        "image_sizes": torch.tensor([own.objects.image_size for own in truth], dtype=torch.int64).reshape(-1, 2),
    }


def _distinct(table: Table) -> tuple[FoundRows, TruthRows, Judged]:
    found, objects = distinct_rows(table)
    kept, rank = first_visits(table["visits"][:, 0])
    own = kept.repeat_interleave(table["judgement_counts"])
    labels, kinds = table["judgements"][own].unbind(dim=1)
    rows = torch.stack([rank.repeat_interleave(table["judgement_counts"])[own], labels], dim=1)
    sizes = table["image_sizes"][kept][torch.argsort(rank[kept])]
    return found, objects, Judged(rows[kinds == 0], torch.unique(rows[kinds == 1], dim=0), sizes)


def without_surplus(table: Table, limits: Limits) -> Table:
    """The table without detections beyond the limits, which stay beyond them whatever else is seen.

    Visits of one image count as one image only in the end, so that here each has a limit of its own.
    """
    ids, counts, _ = table["visits"].unbind(dim=1)
    visit = torch.arange(len(ids)).repeat_interleave(counts)
    rows = torch.arange(len(visit))
    every = FoundRows(visit, table["found_labels"], table["found"][:, 4], table["found"][:, :4])
    if limits.an_image is not None:
        rows = _best_of_each(every.image_index, every, limits.an_image)
    if limits.a_class is not None:
        own = FoundRows(ids[visit], every.labels, every.scores, every.boxes).at(rows)
        rows = rows[_best_of_each(own.labels, own, limits.a_class)]
    visits = table["visits"].clone()
    visits[:, 1] = torch.bincount(visit[rows], minlength=len(ids))
    return {**table, "visits": visits, "found": table["found"][rows], "found_labels": table["found_labels"][rows]}


class _LvisAP(TableMetric):
    """LVIS AP over a data set, over all ranks; an image counts once, however often it was seen."""

    EMPTY = VISITS | JUDGEMENTS

    def __init__(
        self, vocabulary: Vocabulary, frequencies: Sequence[str], limits: Limits = NORMAL, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary, self.frequencies, self.limits = vocabulary, tuple(frequencies), limits
        _groups(self.frequencies, vocabulary)
        self._room = ROWS_HELD

    def reset(self) -> None:
        """Forgets everything seen."""
        super().reset()
        self._room = ROWS_HELD

    def compute(self) -> LvisScores:
        """The scores of everything seen since the last reset."""
        rows = _distinct(self.table())
        return rows_lvis_precision(*rows, self.vocabulary, self.frequencies, self.limits)


class LvisBoxAP(_LvisAP):
    """LVIS AP of boxes; `limits` is NORMAL or FIXED. Detections that no limit lets count are not kept for long."""

    def update(self, predictions: Sequence[Detections], truth: Sequence[LvisTruth]) -> None:
        """Adds one prediction an image, in the order of `truth`."""
        rows = _table(predictions, truth, self.vocabulary)
        self.add(without_surplus(rows, Limits(an_image=self.limits.an_image)))
        self._room -= len(self.found[-1])  # type: ignore[index]
        if self._room < 0:
            kept = without_surplus(self.table(), self.limits)
            for name, column in kept.items():
                setattr(self, name, [column])
            self._room = max(ROWS_HELD, len(kept["found"]))


class LvisMaskAP(_LvisAP):
    """LVIS AP of masks; `limits` is NORMAL or FIXED."""

    EMPTY = VISITS | JUDGEMENTS | MASKS

    def update(
        self,
        predictions: Sequence[Detections],
        truth: Sequence[LvisTruth],
        found_masks: ImageMasks,
        object_masks: ImageMasks,
    ) -> None:
        """Adds one prediction an image, in the order of `truth`, with a mask for each detection and object."""
        objects = [own.objects for own in truth]
        table = _table(predictions, truth, self.vocabulary)
        self.add({**table, **mask_table(found_masks, object_masks, predictions, objects)})
