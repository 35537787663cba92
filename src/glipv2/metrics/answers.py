"""Accuracy of answers to questions, as VQA v2 counts it, with its normalisation of strings."""

from __future__ import annotations

import re
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
from glipv2.structures.truth import AnswerTruth

ENOUGH = 3  # people who must agree for a full score
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
PERIODS_REMOVED = 32  # the official script hands a flag of this value over as the count
COMMA_IN_NUMBER = re.compile(r"\d,\d", re.ASCII)
PERIOD = re.compile(r"\.(?!\d)", re.ASCII)
ARTICLES = frozenset({"a", "an", "the"})
DIGITS = "zero one two three four five six seven eight nine ten"
NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(DIGITS.split())}
# Contractions that are mended where one of their apostrophes is missing. Those of which the bare form is a
# word of its own (she'll, we're, I'd, it's) are not among them.
MENDED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
    needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
    somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
    that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've
    we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's
    who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've
    you'll you're you've
"""
CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word for word in MENDED.split() for place, sign in enumerate(word) if sign == "'"
} | {"somebody'd": "somebodyd"}  # an oddity of the official table


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


def trimmed(text: str) -> str:
    """Without line breaks, tabs and blanks around it."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def normalised(text: str) -> str:
    """Without punctuation, capitals and articles, numbers in digits, apostrophes put back."""
    return with_plain_words(without_punctuation(text))


def without_punctuation(text: str) -> str:
    """The first step: a sign vanishes where it stands by a blank anywhere or a number has a comma, else it parts."""
    parted = text
    for sign in PUNCTUATION:
        vanishes = f"{sign} " in text or f" {sign}" in text or COMMA_IN_NUMBER.search(text)
        parted = parted.replace(sign, "" if vanishes else " ")
    return PERIOD.sub("", parted, count=PERIODS_REMOVED)


def with_plain_words(text: str) -> str:
    """The second step: lower case, digits, no articles, contractions mended."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


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
