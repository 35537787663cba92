"""Every metric with samples for it: what `update` takes, one row a sample, so that tests can batch and share them."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detection_samples import PETS, as_predictions, painted, random_pairs

from glipv2.metrics.answers import VqaAccuracy
from glipv2.metrics.captions import CaptionMetric
from glipv2.metrics.coco import CocoBoxAP, CocoMaskAP
from glipv2.metrics.lvis import FIXED, NORMAL, Limits, LvisBoxAP, LvisMaskAP
from glipv2.metrics.phrases import PhraseRecall
from glipv2.metrics.references import FoundRegion, ReferringAccuracy, RegionOverlap
from glipv2.metrics.tables import TableMetric
from glipv2.structures import Detections, Vocabulary
from glipv2.structures.truth import (
    AnswerTruth,
    CaptionTruth,
    ExpressionTruth,
    LvisTruth,
    RegionTruth,
    SentenceTruth,
)

Row = tuple[Any, ...]
FREQUENCIES = ("f", "c", "r")


@dataclass(frozen=True)
class Samples:
    """rows: what was found and what is true; perfect: the truth as if it had been found; best: names of scores
    that are then as high as can be, and that value."""

    metric: Callable[[], TableMetric]
    rows: list[Row]
    perfect: list[Row]
    best: dict[str, float]

    def updated(self, rows: Iterable[Row], batch: int = 5) -> TableMetric:
        """A fresh metric that saw these rows."""
        metric = self.metric()
        update(metric, rows, batch)
        return metric


def update(metric: TableMetric, rows: Iterable[Row], batch: int = 5) -> None:
    """Hands rows over in batches."""
    every = list(rows)
    for first in range(0, len(every), batch):
        metric.update(*(list(column) for column in zip(*every[first : first + batch], strict=True)))


def scores_of(metric: TableMetric) -> dict[str, float]:
    """What a logger gets."""
    flat: dict[str, float] = metric.compute().flat("x")
    return flat


def _detection(seed: int) -> dict[str, Samples]:
    rows = random_pairs(seed)
    perfect = [(as_predictions(objects), objects) for _, objects in rows]
    judged = [LvisTruth(own, (1,), (0,) if own.image_id % 2 else ()) for _, own in rows]

    def masked(pairs: Sequence[Row]) -> list[Row]:
        return [(one, own, painted(one.boxes), painted(own.boxes)) for one, own in pairs]

    def federated(pairs: Sequence[Row]) -> list[Row]:
        return [(row[0], own, *row[2:]) for row, own in zip(pairs, judged, strict=True)]

    def lvis(kind: type[LvisBoxAP] | type[LvisMaskAP], limits: Limits = NORMAL) -> Callable[[], TableMetric]:
        return lambda: kind(PETS, FREQUENCIES, limits)

    whole = [(dataclasses.replace(one, boxes=own.boxes, labels=own.labels, scores=own.areas), own) for one, own in rows]
    return {
        "coco boxes": Samples(lambda: CocoBoxAP(PETS), [*rows], [*perfect], {"x/box_ap": 1.0, "x/box_ar_100": 1.0}),
        "coco masks": Samples(lambda: CocoMaskAP(PETS), masked(rows), masked(perfect), {"x/mask_ap": 1.0}),
        "lvis boxes": Samples(lvis(LvisBoxAP), federated(rows), federated(whole), {"x/box_ap": 1.0, "x/box_ar": 1.0}),
        "lvis fixed": Samples(lvis(LvisBoxAP, FIXED), federated(rows), federated(whole), {"x/box_fixed_ap": 1.0}),
        "lvis masks": Samples(
            lvis(LvisMaskAP), federated(masked(rows)), federated(masked(whole)), {"x/mask_ap_rare": 1.0}
        ),
    }


def _boxes(rng: random.Random, count: int) -> torch.Tensor:
    corners = torch.tensor([[rng.randrange(6), rng.randrange(6)] for _ in range(count)]).reshape(-1, 2)
    sides = torch.tensor([[rng.randrange(1, 6), rng.randrange(1, 6)] for _ in range(count)]).reshape(-1, 2)
    return torch.cat([corners, corners + sides], dim=1) * 8.0


def _phrases(rng: random.Random) -> Samples:
    rows, perfect = list[Row](), list[Row]()
    for sentence in range(14):
        count = rng.randrange(4)
        boxes = tuple(_boxes(rng, rng.randrange(1, 4)) for _ in range(count))
        kinds = tuple(tuple(rng.sample(["people", "animals", "other"], rng.randrange(1, 3))) for _ in range(count))
        truth = SentenceTruth(sentence // 5 + 3, sentence % 5, boxes, kinds)
        rows.append(([_boxes(rng, rng.randrange(14)) for _ in boxes], truth))
        perfect.append(([*boxes], truth))
    return Samples(PhraseRecall, rows, perfect, {"x/any_box_recall_1": 1.0, "x/people/any_box_upper_bound": 1.0})


def _references(rng: random.Random) -> Samples:
    it = Vocabulary(("it",))
    rows, perfect = list[Row](), list[Row]()
    for expression in range(30):
        own = _boxes(rng, 1)[0]
        boxes = torch.cat([_boxes(rng, rng.randrange(13)), own + torch.tensor([[0, 8, 8, 8]]) * (expression % 3)])
        scores = torch.tensor([rng.randrange(5) / 4 for _ in boxes])
        truth = ExpressionTruth(100 - expression, own)
        rows.append((Detections(boxes, scores, torch.zeros(len(boxes)).long(), (99, 99), it), truth))
        perfect.append((Detections(own[None], torch.ones(1), torch.zeros(1).long(), (99, 99), it), truth))
    return Samples(ReferringAccuracy, rows, perfect, {"x/accuracy": 1.0, "x/giou_accuracy": 1.0})


def _regions(rng: random.Random) -> Samples:
    rows, perfect = list[Row](), list[Row]()
    for task in range(14):
        boxes = _boxes(rng, rng.randrange(1, 3))
        mask = torch.zeros(99, 99).bool()
        for left, top, right, bottom in boxes.long().tolist():
            mask[top:bottom, left:right] = True
        subsets = tuple(rng.sample(["c20", "i_single", "täg"], rng.randrange(3)))
        truth = RegionTruth(f"{task // 3}__{task % 3}", mask, boxes, subsets)
        region = FoundRegion(mask.roll(rng.randrange(20), 0), _boxes(rng, rng.randrange(3)))
        rows.append((None if task % 6 == 5 else region, truth))
        perfect.append((FoundRegion(mask, boxes), truth))
    best = dict.fromkeys(("x/mean_mask_iou", "x/cumulative_mask_iou", "x/mask_accuracy_90", "x/mean_box_iou"), 1.0)
    return Samples(RegionOverlap, rows, perfect, best)


def _answers(rng: random.Random) -> Samples:
    words = ["Yes", "yes.", "no", "two", "2", "a red dog", "red dog", "dont know"]
    rows, perfect = list[Row](), list[Row]()
    for question in range(14):
        kind, first = rng.choice(["yes/no", "number", "other"]), rng.choice(["what is", "is the", ""])
        one = rng.choice(words)
        answers = (one,) * 4 + tuple(rng.choice(words) for _ in range(6))
        truth = AnswerTruth(question * 3 + 1, answers, kind, first)
        rows.append((rng.choice(words), truth))
        perfect.append((one, truth))
    return Samples(VqaAccuracy, rows, perfect, {"x/accuracy": 1.0})


def _captions(rng: random.Random) -> Samples:
    words = ["a", "A dog's", "cat", "runs,", "sleeps", "on", "the", "street B.", "café", "two", "can't"]
    rows, perfect = list[Row](), list[Row]()
    for image in range(14):
        known = tuple(" ".join(rng.choices(words, k=rng.randrange(4, 9))) for _ in range(rng.randrange(1, 4)))
        truth = CaptionTruth(200 - 3 * image, known)
        rows.append((" ".join(rng.choices(words, k=rng.randrange(8))), truth))
        perfect.append((known[0], CaptionTruth(truth.image_id, known[:1])))
    return Samples(CaptionMetric, rows, perfect, {"x/bleu_4": 1.0, "x/rouge_l": 1.0, "x/cider_d": 10.0})


def every_metric(seed: int = 0) -> dict[str, Samples]:
    """By name."""
    rng = random.Random(seed)
    return _detection(seed) | {
        "phrases": _phrases(rng),
        "references": _references(rng),
        "regions": _regions(rng),
        "answers": _answers(rng),
        "captions": _captions(rng),
    }
