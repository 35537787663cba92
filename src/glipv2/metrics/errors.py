"""What goes wrong with detections: precision by recall, kinds of errors, and which names are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from faster_coco_eval.core import mask as coco_mask
from torch import Tensor

from glipv2.metrics.detection_rows import FoundRows, TruthRows, detection_curves
from glipv2.metrics.tables import UNDEFINED
from glipv2.structures.boxes import BoxConvention

HIT, TOUCH = 0.5, 0.1  # overlaps (IoU) from which an object is found, and from which a detection is about it at all
MOST = 100  # detections of an image, as in AP
MOST_PAIRS = 400  # confusions that are kept, the most frequent
CURVES = {"0.50": 0, "0.75": 5}  # places of IoU thresholds
NAMED = ("correct", "localisation", "class", "both", "duplicate", "background", "missed")
CORRECT, LOCALISATION, CLASS, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(NAMED))

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class DetectionErrors:
    """Of all detections scored `threshold` or better, which is where F1 at IoU 0.5 is best (-1: nothing is found).

    region: "box" or "mask", whose overlap counts. kinds, by_class: how many detections are "correct" (their name,
    IoU ≥ 0.5), have the right name at the wrong place ("localisation", IoU ≥ 0.1), the wrong name at the right place
    ("class"), the wrong name near an object ("both"), stand on an object that is found already ("duplicate") or on
    none ("background"); and how many objects are "missed": neither found nor meant by a detection of the wrong place
    or name. A class's misses and confusions are those of its objects, the rest of its detections. confusion: (true
    name, given name, count), the most frequent first. curves: mean precision of the classes at recalls 0, 0.01 … 1,
    at IoU 0.50, 0.75 and over 0.50:0.95.
    """

    region: str
    images: int
    objects: int
    threshold: float
    precision: float
    recall: float
    kinds: Mapping[str, int]
    by_class: Mapping[str, Mapping[str, int]]
    confusion: Sequence[tuple[str, str, int]]
    curves: Mapping[str, Sequence[float]]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"of": "detections", **vars(self), "confusion": [list(pair) for pair in self.confusion]}


@dataclass
class _Image:
    """Detections of one image, best first, and its objects. met: of a detection the object it finds, -1 none, -2 a
    crowd, of which nothing is said."""

    overlaps: Numbers  # [D, G]
    scores: Numbers
    labels: Numbers
    object_labels: Numbers
    crowd: Numbers
    met: Numbers


def detection_errors(found: FoundRows, truth: TruthRows, names: Sequence[str]) -> DetectionErrors:
    """See `DetectionErrors`; rows as `distinct_rows` gives them, names by label."""
    images = list(_images(found, truth))
    for image in images:
        image.met = _met(image)
    objects = int((~truth.is_crowd).sum())
    threshold, precision, recall = _best(images, objects)
    counts = np.zeros((len(names), len(NAMED)), dtype=np.int64)
    pairs: Counter[tuple[int, int]] = Counter()
    for image in images:
        _count(image, threshold, counts, pairs)
    return DetectionErrors(
        region="box" if found.masks is None else "mask",
        images=len(images),
        objects=objects,
        threshold=threshold,
        precision=precision,
        recall=recall,
        kinds=dict(zip(NAMED, counts.sum(0).tolist(), strict=True)),
        by_class={names[label]: dict(zip(NAMED, row, strict=True))
                  for label, row in enumerate(counts.tolist()) if any(row)},
        confusion=[(names[true], names[given], count) for (true, given), count in pairs.most_common(MOST_PAIRS)],
        curves=_curves(found, truth),
    )  # fmt: skip


def _images(found: FoundRows, truth: TruthRows) -> Iterator[_Image]:
    """Every image that has an object or a detection."""
    found_rows, object_rows, none = _by_image(found), _by_image(truth), torch.zeros(0, dtype=torch.int64)
    for index in sorted({*found_rows, *object_rows}):
        rows = found_rows.get(index, none)
        own = found.at(rows[found.scores[rows].argsort(descending=True, stable=True)[:MOST]])
        objects = truth.at(object_rows.get(index, none))
        yield _Image(
            overlaps=_overlaps(own, objects),
            scores=own.scores.numpy(),
            labels=own.labels.numpy(),
            object_labels=objects.labels.numpy(),
            crowd=objects.is_crowd.numpy(),
            met=np.full(len(own), -1, dtype=np.int64),
        )


def _by_image(rows: FoundRows | TruthRows) -> dict[int, Tensor]:
    """The rows of each image."""
    order = rows.image_index.argsort(stable=True)
    indices, counts = rows.image_index[order].unique_consecutive(return_counts=True)
    return dict(zip(indices.tolist(), order.split(counts.tolist()), strict=True))


def _overlaps(found: FoundRows, objects: TruthRows) -> Numbers:
    if not len(found) or not len(objects):
        return np.zeros((len(found), len(objects)))
    if found.masks is not None and objects.masks is not None:
        first, second = ([dict(mask) for mask in rows.masks or ()] for rows in (found, objects))
        overlaps: Numbers = np.asarray(coco_mask.iou(first, second, objects.is_crowd.int().tolist()))
        return overlaps
    return BoxConvention().iou(found.boxes.double()[:, None], objects.boxes.double()[None]).numpy()


def _met(image: _Image) -> Numbers:
    """Which object each detection finds: of its name, the best overlap that is still free, better scores first."""
    met = np.full(len(image.labels), -1, dtype=np.int64)
    fits = (image.overlaps >= HIT) & (image.labels[:, None] == image.object_labels[None])
    free = ~image.crowd
    for row in np.flatnonzero(fits.any(axis=1)):
        open_to = fits[row] & free
        if open_to.any():
            met[row] = int(np.argmax(np.where(open_to, image.overlaps[row], -1)))
            free[met[row]] = False
        elif (fits[row] & image.crowd).any():
            met[row] = -2
    return met


def _best(images: Sequence[_Image], objects: int) -> tuple[float, float, float]:
    """The score at which F1 is best, with precision and recall from there on."""
    scores = np.concatenate([image.scores[image.met != -2] for image in images]) if images else np.zeros(0)
    if not len(scores) or not objects:
        return UNDEFINED, UNDEFINED, UNDEFINED
    hits = np.concatenate([image.met[image.met != -2] >= 0 for image in images])
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(hits[order])
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # equal scores are in or out together
    harmonic = 2 * hits[last] / (last + 1 + objects)
    place = last[int(np.argmax(harmonic))]
    if not hits[place]:
        return UNDEFINED, UNDEFINED, UNDEFINED
    return float(scores[place]), float(hits[place] / (place + 1)), float(hits[place] / objects)


def _count(image: _Image, threshold: float, counts: Numbers, pairs: Counter[tuple[int, int]]) -> None:
    """Adds an image's errors to `counts` [K, 7] and its confusions to `pairs`."""
    shown = (image.scores >= threshold) if threshold != UNDEFINED else np.zeros(len(image.scores), dtype=bool)
    settled = image.crowd.copy()  # objects that are found, meant, or crowds
    settled[image.met[shown & (image.met >= 0)]] = True
    found = settled & ~image.crowd
    for row in np.flatnonzero(shown & (image.met != -2)):
        kind, about = _kind(image, int(row), found)
        label = image.labels[row]
        counts[image.object_labels[about] if kind == CLASS else label, kind] += 1
        if kind == CLASS:
            pairs[int(image.object_labels[about]), int(label)] += 1
        if kind in (CLASS, LOCALISATION):
            settled[about] = True
    np.add.at(counts[:, MISSED], image.object_labels[~settled], 1)


def _kind(image: _Image, row: int, found: Numbers) -> tuple[int, int]:
    """What a detection is, and the object that it is about (-1: none)."""
    if image.met[row] >= 0:
        return CORRECT, int(image.met[row])
    overlaps = np.where(image.crowd, 0.0, image.overlaps[row])
    same = image.object_labels == image.labels[row]
    if (overlaps[same & found] >= HIT).any():
        return DUPLICATE, -1
    for kind, own, least in ((LOCALISATION, same, TOUCH), (CLASS, ~same, HIT), (BOTH, ~same, TOUCH)):
        if own.any() and overlaps[own].max() >= least:
            return kind, int(np.argmax(np.where(own, overlaps, -1)))
    return BACKGROUND, -1


def _curves(found: FoundRows, truth: TruthRows) -> dict[str, list[float]]:
    present = sorted(set(truth.labels[~truth.is_crowd].tolist()))
    if not present:
        return {}
    precision = detection_curves(found, truth, present).precision[:, :, :, 0, -1]  # [T, R, K]
    defined = np.where(precision > UNDEFINED, precision, np.nan)
    chosen = {name: defined[place] for name, place in CURVES.items()} | {"0.50:0.95": np.nanmean(defined, axis=0)}
    return {name: [round(float(value), 4) for value in np.nanmean(own, axis=1)] for name, own in chosen.items()}
