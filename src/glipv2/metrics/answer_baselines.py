"""What an accuracy of answers must be compared with: answers that were given without looking at any picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.metrics.answers import answer_accuracy
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
from glipv2.structures.truth import AnswerTruth

APART = "\x1f"  # between the answers of a question; no text holds it


@dataclass(frozen=True)
class BaselineScores:
    """majority: accuracy of the answer that is commonest among the *evaluated* questions; majority_by_kind: of
    the commonest of each question type; unknown: questions with no answer that the model could give. -1 without
    questions.
    """

    majority: float
    majority_by_kind: float
    unknown: int
    questions: int

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger: "vqa/accuracy_majority", "vqa/accuracy_majority_by_kind", "vqa/unknown_answers"."""
        return {
            f"{prefix}/accuracy_majority": self.majority,
            f"{prefix}/accuracy_majority_by_kind": self.majority_by_kind,
            f"{prefix}/unknown_answers": float(self.unknown),
        }


EMPTY: dict[str, Tensor] = {
    "question_ids": torch.zeros(0, dtype=torch.int64),
    "known": torch.zeros(0, dtype=torch.int64),  # 1 where one of the answers could be given
    "texts": NO_BYTES,  # question type and answers
    "text_lengths": NO_LENGTHS,
}


class AnswerBaselines(TableMetric):
    """Baselines over a data set, over all ranks; a question counts once, however often it was seen."""

    EMPTY = EMPTY

    def update(self, truth: Sequence[AnswerTruth], known: Sequence[bool]) -> None:
        """Adds questions, and whether the model could give one of the answers of each."""
        if len(truth) != len(known):
            raise UserError(f"expected as many marks as questions, but got {len(known)} for {len(truth)}")
        data, lengths = packed([APART.join((own.question_type, *own.answers)) for own in truth])
        self.add(
            {
                "question_ids": torch.tensor([own.question_id for own in truth], dtype=torch.int64),
                "known": torch.tensor(known, dtype=torch.int64),
                "texts": data,
                "text_lengths": lengths,
            }
        )

    def compute(self) -> BaselineScores:
        """The scores of everything seen since the last reset."""
        return _scores(self.table())


def _scores(table: Table) -> BaselineScores:
    kept, _ = first_visits(table["question_ids"])
    rows = kept.nonzero().flatten().tolist()
    every = texts(table["texts"], table["text_lengths"])
    kinds, answers = [], []
    for kind, *given in (every[row].split(APART) for row in rows):
        kinds.append(kind)
        answers.append(given)
    apart = [[own for kind, own in zip(kinds, answers, strict=True) if kind == name] for name in dict.fromkeys(kinds)]
    right = sum(_majority(own) * len(own) for own in apart)
    unknown = int((1 - table["known"][kept]).sum())
    return BaselineScores(_majority(answers), right / len(rows) if rows else UNDEFINED, unknown, len(rows))


def _majority(answers: Sequence[Sequence[str]]) -> float:
    """Mean accuracy of the answer that most questions have as their own commonest."""
    if not answers:
        return UNDEFINED
    said = _commonest([_commonest(own) for own in answers])
    return sum(answer_accuracy(said, own) for own in answers) / len(answers)


def _commonest(said: Sequence[str]) -> str:
    """Of several that are as common the last in the alphabet, in whatever order they come."""
    return max(Counter(said).items(), key=lambda pair: (pair[1], pair[0]))[0]
