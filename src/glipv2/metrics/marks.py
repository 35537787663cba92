"""How right the prediction of one image is, to choose pictures worth a look; and what it takes for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatch

import torch
from torch import Tensor

from glipv2.metrics.answers import answer_accuracy
from glipv2.metrics.captions import rouge_l
from glipv2.structures import Detections, ImageTruth, Prediction, Segments
from glipv2.structures.boxes import BoxConvention
from glipv2.structures.grounded import Answers, GroundedCaptions, ImageCaption

HIT, TOUCH = 0.5, 0.1  # overlaps (IoU)
Tally = Counter[tuple[str, ...]]


@dataclass(frozen=True)
class Mark:
    """score: in [0, 1], None where the image asks for nothing. tally: outcomes, of phrases ("found", "loose",
    "elsewhere" or "no box"), of answers (kind of question, right answer, given answer)."""

    score: float | None
    tally: Tally = field(default_factory=Counter)


@singledispatch
def mark(found: Prediction, truth: ImageTruth) -> Mark:
    """One way for each kind of prediction; unknown kinds have no score. Tensors of both on the CPU."""
    return Mark(None)


@mark.register
def _(found: Detections, truth: ImageTruth) -> Mark:
    """Average precision of the one image at IoU 0.5, all classes in one ranking; without objects 1 - best score."""
    objects = ~truth.is_crowd
    if not objects.any():
        return Mark(1.0 - (float(found.scores.max()) if len(found) else 0.0))
    boxes, labels = truth.boxes[objects], truth.labels[objects]
    fits = (BoxConvention().iou(found.boxes[:, None], boxes[None]) >= HIT) & (found.labels[:, None] == labels[None])
    return Mark(_average_precision(fits))


@mark.register
def _(found: Segments, truth: ImageTruth) -> Mark:
    """As its boxes."""
    return mark(found.detections, truth)


@mark.register
def _(found: GroundedCaptions, truth: ImageTruth) -> Mark:
    """The share of phrases whose best box hits one of theirs."""
    tally: Tally = Counter()
    for text, caption in zip(found.captions, truth.captions, strict=True):
        for place, phrase in enumerate(caption.phrases):
            if phrase.instances:
                tally[_outcome(text.of(place)[0], truth.boxes[list(phrase.instances)]),] += 1
    return Mark(tally["found",] / tally.total() if tally else None, tally)


@mark.register
def _(found: Answers, truth: ImageTruth) -> Mark:
    """The mean accuracy of the answers."""
    accuracies = []
    tally: Tally = Counter()
    for answer, question in zip(found.answers, truth.questions, strict=True):
        if question.answers:
            accuracies.append(answer_accuracy(answer.text, question.answers))
            commonest = Counter(question.answers).most_common(1)[0][0]
            right = answer.text if accuracies[-1] >= 1 else commonest
            tally[question.kind or question.answer_kind, right, answer.text] += 1
    return Mark(sum(accuracies) / len(accuracies) if accuracies else None, tally)


@mark.register
def _(found: ImageCaption, truth: ImageTruth) -> Mark:
    """ROUGE-L of the caption's words: the corpus that CIDEr-D needs is not there for one image."""
    said = found.text.lower().split()
    references = [words for caption in truth.captions if (words := caption.text.lower().split())]
    return Mark((rouge_l(said, references) if said else 0.0) if references else None)


def _average_precision(fits: Tensor) -> float:
    """fits bool [D, G], best detections first: precision at each object found, over all objects."""
    free = torch.ones(fits.shape[1], dtype=torch.bool)
    total, hits = 0.0, 0
    for row in fits.any(dim=1).nonzero().flatten().tolist():
        places = (fits[row] & free).nonzero().flatten()
        if len(places):
            free[places[0]] = False
            hits += 1
            total += hits / (row + 1)
    return total / fits.shape[1]


def _outcome(boxes: Tensor, targets: Tensor) -> str:
    if not len(boxes):
        return "no box"
    overlap = float(BoxConvention().iou(boxes[:1], targets).max())
    return "found" if overlap >= HIT else "loose" if overlap >= TOUCH else "elsewhere"


def most_frequent(tally: Tally, count: int) -> Sequence[tuple[tuple[str, ...], int]]:
    """Outcomes with their numbers, equal ones in the order of their words."""
    return sorted(tally.items(), key=lambda item: (-item[1], item[0]))[:count]
