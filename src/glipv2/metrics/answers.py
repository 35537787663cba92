"""Accuracy of answers to questions, as VQA v2 counts it, with its normalisation of strings."""

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
from glipv2.structures.answer_strings import normalised, trimmed
from glipv2.structures.truth import AnswerTruth

ENOUGH = 3  # people who must agree for a full score


@dataclass(frozen=True)
class AnswerScores:
    """Mean accuracy over questions, in [0, 1] (the official script prints percent); -1 without questions."""

    accuracy: float
    by_answer_type: dict[str, float]
    by_question_type: dict[str, float]

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger: "vqa/accuracy", "vqa/accuracy/number", …, "vqa/accuracy/question/how many", …"""
        numbers = {f"{prefix}/accuracy": self.accuracy}
        numbers |= {f"{prefix}/accuracy/{name}": value for name, value in self.by_answer_type.items()}
        return numbers | {f"{prefix}/accuracy/question/{name}": value for name, value in self.by_question_type.items()}


def vqa_accuracy(predictions: Sequence[str], truth: Sequence[AnswerTruth]) -> AnswerScores:
    """Accuracy of one answer a question; a question that occurs twice counts once.

    Raises UserError where a question has no answer to compare with.
    """
    return _scores(_table(predictions, truth))


def answer_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """How far people agree with an answer: min(1, matches / 3) with one of them left out, over all of them.

    Strings are normalised only where people disagree. Of four people and more this is the official formula;
    of fewer, where no answer could reach 1, all the others must agree, and a single one alone decides.
    """
    predicted, known = trimmed(prediction), [trimmed(answer) for answer in answers]
    if len(set(known)) > 1:
        predicted, known = normalised(predicted), [normalised(answer) for answer in known]
    matches = known.count(predicted)
    if len(known) == 1:
        return float(matches)
    enough = min(ENOUGH, len(known) - 1)
    return sum(min(1.0, (matches - (answer == predicted)) / enough) for answer in known) / len(known)


EMPTY: dict[str, Tensor] = {
    "question_ids": torch.zeros(0, dtype=torch.int64),
    "accuracies": torch.zeros(0, dtype=torch.float64),
    "kinds": NO_BYTES,  # answer type and question type, in two lines
    "kind_lengths": NO_LENGTHS,
}


def _table(predictions: Sequence[str], truth: Sequence[AnswerTruth]) -> Table:
    if len(predictions) != len(truth):
        raise UserError(f"expected one answer a question, but got {len(predictions)} for {len(truth)} questions")
    for own in truth:
        if not own.answers:
            raise UserError(f"question {own.question_id} has no answer to compare with; leave it out")
    accuracies = [answer_accuracy(said, own.answers) for said, own in zip(predictions, truth, strict=True)]
    kinds, lengths = packed([f"{own.answer_type}\n{own.question_type}" for own in truth])
    return {
        "question_ids": torch.tensor([own.question_id for own in truth], dtype=torch.int64),
        "accuracies": torch.tensor(accuracies, dtype=torch.float64),
        "kinds": kinds,
        "kind_lengths": lengths,
    }


def _scores(table: Table) -> AnswerScores:
    kept, _ = first_visits(table["question_ids"])
    accuracies = table["accuracies"][kept].tolist()
    every = texts(table["kinds"], table["kind_lengths"])
    own = [every[row].split("\n") for row in kept.nonzero().flatten().tolist()]
    by_type: tuple[dict[str, list[float]], dict[str, list[float]]] = ({}, {})
    for accuracy, kinds in zip(accuracies, own, strict=True):
        for groups, kind in zip(by_type, kinds, strict=True):
            if kind:
                groups.setdefault(kind, []).append(accuracy)
    answer_types, question_types = (
        {kind: sum(values) / len(values) for kind, values in sorted(groups.items())} for groups in by_type
    )
    overall = sum(accuracies) / len(accuracies) if accuracies else UNDEFINED
    return AnswerScores(overall, answer_types, question_types)


class VqaAccuracy(TableMetric):
    """Accuracy over a data set, over all ranks; a question counts once, however often it was seen."""

    EMPTY = EMPTY

    def update(self, predictions: Sequence[str], truth: Sequence[AnswerTruth]) -> None:
        """Adds one answer a question, in the order of `truth`."""
        self.add(_table(predictions, truth))

    def compute(self) -> AnswerScores:
        """The scores of everything seen since the last reset."""
        return _scores(self.table())
