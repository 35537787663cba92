"""BLEU, ROUGE-L and CIDEr-D of captions: the numbers of the COCO caption evaluation, without Java.

METEOR, which is a Java program, comes with an extra: `glipv2.metrics.meteor`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.metrics.caption_tokens import tokenised
from glipv2.metrics.meteor import meteor
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
from glipv2.structures.truth import CaptionTruth

ORDERS = (1, 2, 3, 4)  # lengths of n-grams
TINY, SMALL = 1e-15, 1e-9  # what BLEU adds to hits and to guesses
BETA = 1.2  # ROUGE-L: weight of recall over precision
SIGMA = 6.0  # CIDEr-D: words of difference in length that are forgiven

Ngram = tuple[str, ...]


@dataclass(frozen=True)
class CaptionScores:
    """Corpus BLEU-1 to 4 and mean ROUGE-L of the images in [0, 1], mean CIDEr-D in [0, 10]; -1 without images."""

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    rouge_l: float
    cider_d: float

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger: "captions/bleu_1", …, "captions/rouge_l", "captions/cider_d"."""
        return {f"{prefix}/{name}": value for name, value in vars(self).items()}


def caption_scores(predictions: Sequence[str], truth: Sequence[CaptionTruth]) -> CaptionScores:
    """Scores of one caption an image; an image that occurs twice counts once.

    Raises UserError where an image has no caption to compare with.
    """
    return _scores(_table(predictions, truth))


def token_scores(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[CaptionScores]:
    """Scores over all images, then of each image, from lines of tokens parted by blanks.

    n-grams are weighted by the references of all the images given, also in an image's own CIDEr-D.
    """
    if not predictions:
        return [CaptionScores(*[UNDEFINED] * 6)]
    found = [line.split() for line in predictions]
    known = [[line.split() for line in lines] for lines in references]
    counts = [_bleu_counts(own, others) for own, others in zip(found, known, strict=True)]
    # ROUGE-L alone keeps a token that holds another kind of blank whole ("23 3/4" with a no-break space).
    rouges = [
        rouge_l(line.split(" "), [other.split(" ") for other in lines])
        for line, lines in zip(predictions, references, strict=True)
    ]
    ciders = _ciders(found, known)
    images = [
        CaptionScores(*_bleus(own), rouge, cider) for own, rouge, cider in zip(counts, rouges, ciders, strict=True)
    ]
    return [CaptionScores(*_bleus(np.sum(counts, axis=0)), float(np.mean(rouges)), float(np.mean(ciders))), *images]


def ngrams(tokens: Sequence[str], order: int) -> Counter[Ngram]:
    """How often each run of `order` tokens occurs."""
    return Counter(zip(*(tokens[first:] for first in range(order)), strict=False))


def _bleu_counts(found: Sequence[str], references: Sequence[Sequence[str]]) -> npt.NDArray[np.int64]:
    """By order the n-grams that a reference has too, at most as often; by order all of them; lengths of both.

    The reference length is the nearest one, the shorter of two that are as near.
    """
    hits, guesses = [], []
    for order in ORDERS:
        own = ngrams(found, order)
        most: Counter[Ngram] = Counter()
        for reference in references:
            most |= ngrams(reference, order)
        hits.append((own & most).total())
        guesses.append(own.total())
    nearest = min((len(reference) for reference in references), key=lambda length: (abs(length - len(found)), length))
    return np.array([*hits, *guesses, len(found), nearest])


def _bleus(counts: npt.NDArray[np.int64]) -> tuple[float, float, float, float]:
    """BLEU-1 to 4: geometric means of the precisions up to that order, less the penalty for brevity."""
    precisions = (counts[:4] + TINY) / (counts[4:8] + SMALL)
    ratio = (counts[8] + TINY) / (counts[9] + SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    first, second, third, fourth = (np.cumprod(precisions) ** (1 / np.array(ORDERS)) * penalty).tolist()
    return first, second, third, fourth


def rouge_l(found: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """F of the longest common subsequence: the best precision and the best recall, maybe of two references."""
    common = [common_length(found, reference) for reference in references]
    precision = max(length / len(found) for length in common)
    recall = max(length / len(reference) for length, reference in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence; a row of the usual table is the bits of one integer (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << place
    whole = (1 << len(first)) - 1
    rows = whole
    for token in second:
        matches = rows & places.get(token, 0)
        rows = (rows + matches | rows - matches) & whole
    return len(first) - rows.bit_count()


def _ciders(found: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """CIDEr-D of each image: clipped cosine of weighted n-grams with each reference, less for other lengths."""
    known = [[_by_order(reference) for reference in own] for own in references]
    images_with = Counter(
        ngram for own in known for ngram in {ngram for counts in own for each in counts for ngram in each}
    )
    rarity = math.log(len(found))

    def weighted(counts: Sequence[Counter[Ngram]]) -> _Weighted:
        vectors = [
            {ngram: count * (rarity - math.log(max(1, images_with[ngram]))) for ngram, count in each.items()}
            for each in counts
        ]
        norms = [math.sqrt(sum(weight**2 for weight in vector.values())) for vector in vectors]
        return _Weighted(vectors, norms, counts[1].total())

    scores = []
    for tokens, own in zip(found, known, strict=True):
        mine = weighted(_by_order(tokens))
        scores.append(10 * float(np.mean([_similarity(mine, weighted(counts)) for counts in own])))
    return scores


class _Weighted(NamedTuple):
    """A caption's n-grams by order with their weights, the norms of these, and how many bigrams there are."""

    vectors: list[dict[Ngram, float]]
    norms: list[float]
    bigrams: int


def _by_order(tokens: Sequence[str]) -> list[Counter[Ngram]]:
    return [ngrams(tokens, order) for order in ORDERS]


def _similarity(found: _Weighted, reference: _Weighted) -> float:
    total = 0.0
    for mine, theirs, own_norm, norm in zip(
        found.vectors, reference.vectors, found.norms, reference.norms, strict=True
    ):
        if own_norm and norm:
            shared = sum(
                min(weight, theirs[ngram]) * theirs[ngram] for ngram, weight in mine.items() if ngram in theirs
            )
            total += shared / (own_norm * norm)
    difference = found.bigrams - reference.bigrams
    return total / len(ORDERS) * math.exp(-(difference**2) / (2 * SIGMA**2))


EMPTY: dict[str, Tensor] = {
    "visits": torch.zeros(0, 2, dtype=torch.int64),  # image id, number of references
    "found": NO_BYTES,
    "found_lengths": NO_LENGTHS,
    "references": NO_BYTES,
    "reference_lengths": NO_LENGTHS,
}


def _table(predictions: Sequence[str], truth: Sequence[CaptionTruth]) -> Table:
    if len(predictions) != len(truth):
        raise UserError(f"expected one caption an image, but got {len(predictions)} for {len(truth)} images")
    for own in truth:
        if not own.captions:
            raise UserError(f"image {own.image_id} has no caption to compare with; leave it out")
    found, found_lengths = packed(predictions)
    references, reference_lengths = packed([caption for own in truth for caption in own.captions])
    visits = [[own.image_id, len(own.captions)] for own in truth]
    return {
        "visits": torch.tensor(visits, dtype=torch.int64).reshape(-1, 2),
        "found": found,
        "found_lengths": found_lengths,
        "references": references,
        "reference_lengths": reference_lengths,
    }


def _scores(table: Table) -> CaptionScores:
    return token_scores(*_tokenised(table))[0]


def _tokenised(table: Table) -> tuple[list[str], list[list[str]]]:
    """Written captions and references, in the order of image ids: neighbours matter to the tokenizer."""
    ids, counts = table["visits"].unbind(dim=1)
    kept, rank = first_visits(ids)
    found, every = texts(table["found"], table["found_lengths"]), texts(table["references"], table["reference_lengths"])
    begins = (counts.cumsum(0) - counts).tolist()
    order = sorted(kept.nonzero().flatten().tolist(), key=rank.tolist().__getitem__)
    own = [every[begins[row] : begins[row] + int(counts[row])] for row in order]
    lines = iter(tokenised([caption for captions in own for caption in captions]))
    references = [[next(lines) for _ in captions] for captions in own]
    return tokenised([found[row] for row in order]), references


class CaptionMetric(TableMetric):
    """BLEU, ROUGE-L and CIDEr-D over a data set, over all ranks; an image counts once, however often it was seen."""

    EMPTY = EMPTY

    def update(self, predictions: Sequence[str], truth: Sequence[CaptionTruth]) -> None:
        """Adds one caption an image, in the order of `truth`."""
        self.add(_table(predictions, truth))

    def compute(self) -> CaptionScores:
        """The scores of everything seen since the last reset."""
        return _scores(self.table())


@dataclass(frozen=True)
class CaptionReport:
    """Scores, and the CIDEr-D of a caption of another image in each one's place: of writing without looking.

    meteor: in [0, 1], -1 without images; None where it was not asked for.
    """

    scores: CaptionScores
    cider_d_other_scene: float
    meteor: float | None = None

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger: "captioning/cider_d", …, "captioning/cider_d_other_scene"."""
        meteor = {} if self.meteor is None else {f"{prefix}/meteor": self.meteor}
        return {**self.scores.flat(prefix), **meteor, f"{prefix}/cider_d_other_scene": self.cider_d_other_scene}


class CaptionReportMetric(TableMetric):
    """`CaptionMetric` with what the captions of other images would score; -1 for a single image.

    with_meteor: METEOR too, which takes an extra and a Java runtime (`check_meteor`).
    """

    EMPTY = EMPTY

    def __init__(self, with_meteor: bool = False) -> None:
        super().__init__()
        self.with_meteor = with_meteor

    def update(self, predictions: Sequence[str], truth: Sequence[CaptionTruth]) -> None:
        """Adds one caption an image, in the order of `truth`."""
        self.add(_table(predictions, truth))

    def compute(self) -> CaptionReport:
        """The next image, by id, lends the first of its captions."""
        found, references = _tokenised(self.table())
        others = [lines[0] for lines in (*references[1:], *references[:1])]
        guessed = token_scores(others, references)[0].cider_d if len(others) > 1 else UNDEFINED
        overall = meteor(found, references)[0] if self.with_meteor else None
        return CaptionReport(token_scores(found, references)[0], guessed, overall)
