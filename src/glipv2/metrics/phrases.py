"""Recall of phrase grounding as on Flickr30k Entities: any-box and merged-box, by type of phrase and over all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.metrics.tables import (
    NO_BYTES,
    NO_LENGTHS,
    UNDEFINED,
    Table,
    TableMetric,
    first_visits,
    packed,
    texts,
)
from glipv2.structures.boxes import BoxConvention
from glipv2.structures.truth import SentenceTruth

THRESHOLD = 0.5
NEVER = torch.iinfo(torch.int64).max  # the rank of a phrase that no box hits
PhraseBoxes = Sequence[Tensor]  # for each phrase of a sentence float [K, 4] xyxy, best first


@dataclass(frozen=True)
class RecallAt:
    """Share of phrases hit by one of the best 1, 5, 10 boxes and by any box at all; -1 without phrases."""

    phrases: int
    at_1: float
    at_5: float
    at_10: float
    upper_bound: float

    @classmethod
    def of_ranks(cls, ranks: Tensor) -> RecallAt:
        """From the rank of each phrase's first hit (0 is the best box), int64 [P]."""
        limits = (1, 5, 10, NEVER)
        shares = [float((ranks < limit).double().mean()) if len(ranks) else UNDEFINED for limit in limits]
        return cls(len(ranks), *shares)

    def flat(self, prefix: str) -> dict[str, float]:
        """prefix + "recall_1", "recall_5", "recall_10", "upper_bound"."""
        named = {"recall_1": self.at_1, "recall_5": self.at_5, "recall_10": self.at_10}
        return {prefix + name: value for name, value in (named | {"upper_bound": self.upper_bound}).items()}


@dataclass(frozen=True)
class PhraseScores:
    """Recall under both protocols, over all phrases and by type.

    any_box: a phrase is hit by IoU ≥ 0.5 with any of its boxes; merged_box: with the smallest box around them.
    A phrase counts once in all, and under each type written at it; a type written twice counts twice, as in the
    released evaluators.
    """

    any_box: RecallAt
    merged_box: RecallAt
    any_box_by_kind: dict[str, RecallAt]
    merged_box_by_kind: dict[str, RecallAt]

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger: "phrases/any_box_recall_1", …, "phrases/people/merged_box_upper_bound", …"""
        numbers: dict[str, float] = {}
        for protocol, every, by_kind in (
            ("any_box", self.any_box, self.any_box_by_kind),
            ("merged_box", self.merged_box, self.merged_box_by_kind),
        ):
            numbers |= every.flat(f"{prefix}/{protocol}_")
            for kind, recall in by_kind.items():
                numbers |= recall.flat(f"{prefix}/{kind}/{protocol}_")
        return numbers


def phrase_recall(predictions: Sequence[PhraseBoxes], truth: Sequence[SentenceTruth]) -> PhraseScores:
    """Recall of one prediction a sentence: for each of its phrases boxes float [K, 4], xyxy, best first.

    A sentence that occurs twice counts once, with its first prediction. A phrase without any box is a miss.
    Raises UserError where a sentence has not one list of boxes a phrase, and for numbers that are not finite.
    """
    return _scores(_table(predictions, truth))


def first_hits(boxes: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Rank int64 [P] of the first of each phrase's boxes [K, 4] with IoU ≥ 0.5 with one of its targets [N, 4]."""
    ranks = torch.full((len(boxes),), NEVER, dtype=torch.int64)
    if not boxes:
        return ranks
    counts = torch.tensor([len(own) for own in boxes])
    sizes = torch.tensor([len(own) for own in targets])
    # Every box of a phrase with every target of it, all phrases at once.
    box_row = torch.arange(int(counts.sum())).repeat_interleave(sizes.repeat_interleave(counts))
    phrase = torch.arange(len(boxes)).repeat_interleave(counts * sizes)
    place = torch.arange(len(phrase)) - ((counts * sizes).cumsum(0) - counts * sizes)[phrase]
    target_row = (sizes.cumsum(0) - sizes)[phrase] + place % sizes[phrase]
    rank = place // sizes[phrase]
    every_box, every_target = (torch.cat([own.reshape(-1, 4).double() for own in rows]) for rows in (boxes, targets))
    hit = BoxConvention().iou(every_box[box_row], every_target[target_row]) >= THRESHOLD
    return ranks.scatter_reduce(0, phrase[hit], rank[hit], "amin")


def merged(boxes: Tensor) -> Tensor:
    """The smallest box [1, 4] around boxes [N, 4]."""
    return torch.cat([boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)])[None]


EMPTY: dict[str, Tensor] = {
    "visits": torch.zeros(0, 3, dtype=torch.int64),  # image id, sentence id, number of phrases
    "ranks": torch.zeros(0, 2, dtype=torch.int64),  # of the first hit: any-box, merged-box
    "kinds": NO_BYTES,  # of each phrase, joined by "/" as in the data set
    "kind_lengths": NO_LENGTHS,
}


def _table(predictions: Sequence[PhraseBoxes], truth: Sequence[SentenceTruth]) -> Table:
    if len(predictions) != len(truth):
        raise UserError(f"expected one prediction a sentence, but got {len(predictions)} for {len(truth)} sentences")
    for found, own in zip(predictions, truth, strict=True):
        _check(found, own)
    boxes = [phrase.detach().cpu() for found in predictions for phrase in found]
    targets = [phrase.detach().cpu() for own in truth for phrase in own.boxes]
    kinds, lengths = packed(["/".join(kinds) for own in truth for kinds in own.kinds])
    visits = [[own.image_id, own.sentence_id, len(own.boxes)] for own in truth]
    ranks = [first_hits(boxes, targets), first_hits(boxes, [merged(phrase) for phrase in targets])]
    columns = {"ranks": torch.stack(ranks, dim=1), "kinds": kinds, "kind_lengths": lengths}
    return {"visits": torch.tensor(visits, dtype=torch.int64).reshape(-1, 3), **columns}


def _check(found: PhraseBoxes, truth: SentenceTruth) -> None:
    place = f"sentence {truth.sentence_id} of image {truth.image_id}"
    if len(found) != len(truth.boxes) or len(truth.kinds) != len(truth.boxes):
        raise UserError(f"expected boxes for {len(truth.boxes)} phrases of {place}, but got {len(found)} lists")
    if any(not len(boxes) for boxes in truth.boxes):
        raise UserError(f"{place} has a phrase without a box; leave such phrases out of the truth")
    if any(not boxes.isfinite().all() for boxes in found):
        raise UserError(f"boxes for {place} are not finite; has the training diverged?")


def _scores(table: Table) -> PhraseScores:
    visits = table["visits"]
    kept, _ = first_visits(visits[:, :2])
    own = kept.repeat_interleave(visits[:, 2])
    ranks = table["ranks"][own]
    rows_of: dict[str, list[int]] = {}
    every = texts(table["kinds"], table["kind_lengths"])
    for row, index in enumerate(own.nonzero().flatten().tolist()):
        for kind in filter(None, every[index].split("/")):
            rows_of.setdefault(kind, []).append(row)

    def by_kind(column: Tensor) -> dict[str, RecallAt]:
        return {kind: RecallAt.of_ranks(column[rows]) for kind, rows in sorted(rows_of.items())}

    any_box, merged_box = ranks.unbind(dim=1)
    return PhraseScores(
        RecallAt.of_ranks(any_box), RecallAt.of_ranks(merged_box), by_kind(any_box), by_kind(merged_box)
    )


class PhraseRecall(TableMetric):
    """Recall of phrases over a data set, over all ranks; a sentence counts once, however often it was seen."""

    EMPTY = EMPTY

    def update(self, predictions: Sequence[PhraseBoxes], truth: Sequence[SentenceTruth]) -> None:
        """Adds one prediction a sentence, in the order of `truth`."""
        self.add(_table(predictions, truth))

    def compute(self) -> PhraseScores:
        """The scores of everything seen since the last reset."""
        return _scores(self.table())
