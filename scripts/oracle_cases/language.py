"""The folders vqa and captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from pathlib import Path
from typing import Any

from glipv2.errors import UserError
from glipv2.metrics.answers import VqaAccuracy, answer_accuracy
from glipv2.metrics.caption_tokens import tokenised
from glipv2.metrics.captions import CaptionMetric, CaptionScores, token_scores
from glipv2.metrics.meteor import check_meteor, meteor
from glipv2.structures.answer_strings import normalised, without_punctuation
from glipv2.structures.truth import AnswerTruth, CaptionTruth
from oracle_cases.case import TOLERANCE, Case, Unmeasured, read

Record = dict[str, Any]
BATCH = 7  # samples an update

# VQA


def vqa_cases(folder: Path) -> Iterator[Case]:
    """The main set, the normalisation of strings, then every edge case."""
    annotations, results = read(folder / "annotations.json")["annotations"], read(folder / "results.json")
    expected = read(folder / "expected.json")
    names = ("accuracy", "accuracy_as_printed_two_decimals", "per_question")
    numbers = {name: expected[name] for name in names if name in expected}
    yield Case("main", numbers, partial(_vqa, annotations, results))
    if (folder / "normalisation.json").exists():
        strings = read(folder / "normalisation.json")
        yield Case("normalisation", {"strings_normalised_otherwise": 0}, partial(_normalisation, strings))
    for case in read(folder / "edge_cases.json"):
        measure = partial(_one_answer, case["prediction"], case["answers"])
        yield Case(case["name"], {"accuracy_percent": case["expected_accuracy_percent"]}, measure)


def _vqa(annotations: Sequence[Record], results: Sequence[Record]) -> Record:
    given = {own["question_id"]: own["answer"] for own in results}
    truth = [
        AnswerTruth(
            own["question_id"],
            tuple(answer["answer"] for answer in own["answers"]),
            own["answer_type"],
            own["question_type"],
        )
        for own in annotations
    ]
    missing = [own.question_id for own in truth if own.question_id not in given]
    if missing:
        raise UserError(f"no answer to {len(missing)} questions, first {missing[0]}")
    metric = VqaAccuracy()
    for first in range(0, len(truth), BATCH):
        part = truth[first : first + BATCH]
        metric.update([given[own.question_id] for own in part], part)
    scores = metric.compute()
    percent = {
        "overall": 100 * scores.accuracy,
        "perAnswerType": {name: 100 * value for name, value in scores.by_answer_type.items()},
        "perQuestionType": {name: 100 * value for name, value in scores.by_question_type.items()},
    }
    alone = {str(own.question_id): 100 * answer_accuracy(given[own.question_id], own.answers) for own in truth}
    return {"accuracy": percent, "accuracy_as_printed_two_decimals": _rounded(percent), "per_question": alone}


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    return float(Decimal(f"{value:.10f}").quantize(Decimal("0.01"), ROUND_HALF_UP))  # as Python 2 rounds


def _normalisation(strings: Sequence[Record]) -> Record:
    wrong = [
        own["raw"]
        for own in strings
        if without_punctuation(own["raw"]) != own["after_punctuation"] or normalised(own["raw"]) != own["normalised"]
    ]
    return {"strings_normalised_otherwise": len(wrong)}


def _one_answer(prediction: str, answers: Sequence[str]) -> Record:
    return {"accuracy_percent": 100 * answer_accuracy(prediction, answers)}


# Captions

NAMES = {
    "Bleu_1": "bleu_1", "Bleu_2": "bleu_2", "Bleu_3": "bleu_3", "Bleu_4": "bleu_4", "ROUGE_L": "rouge_l",
    "CIDEr": "cider_d",
}  # fmt: skip
METEOR = Unmeasured('METEOR is measured from the given tokens, with pip install "glipv2[meteor]" and Java')
OTHER_TOKENS = 1e-4  # tolerance where the two tokenizers differ
Lines = Mapping[str, Sequence[str]]


def caption_cases(folder: Path) -> Iterator[Case]:
    """Every system from the oracle's tokens and from the raw strings, then every edge case likewise."""
    for system, expected in read(folder / "expected.json")["systems"].items():
        gt, predictions = (read(folder / name) for name in (expected["references"], f"predictions_{system}.json"))
        tokens = tuple(
            read(folder / f"tokenized_{name}") for name in (expected["references"], f"predictions_{system}.json")
        )
        yield from _both(system, gt, predictions, tokens, expected)
    for case in read(folder / "edge_cases.json"):
        tokens = case["tokenized_gt"], case["tokenized_predictions"]
        yield from _both(case["name"], case["gt"], case["predictions"], tokens, case["expected"])


def _both(
    name: str, gt: Record, predictions: Sequence[Record], tokens: tuple[Lines, Lines], expected: Record
) -> Iterator[Case]:
    numbers = {part: expected[part] for part in ("scores", "per_image", "raises") if part in expected}
    yield Case(f"{name}/given_tokens", numbers, partial(_from_tokens, *tokens))
    other, of = _split_otherwise(gt, predictions, tokens)
    note = f"{other} of {of} captions split otherwise than by the oracle's tokenizer; tolerance {OTHER_TOKENS:g}"
    scores = {"scores": numbers["scores"]} if "scores" in numbers else numbers
    measure = partial(_from_strings, gt, predictions)
    yield Case(f"{name}/strings", scores, measure, OTHER_TOKENS if other else TOLERANCE, note if other else "")


def _from_tokens(references: Lines, predictions: Lines) -> Record:
    ids = list(predictions)
    found, known = [predictions[own][0] for own in ids], [references[own] for own in ids]
    every, *images = token_scores(found, known)
    overall, each = _meteor(found, known)
    rows = zip(ids, images, each, strict=True)
    return {"scores": _named(every, overall), "per_image": {own: _named(one, alone) for own, one, alone in rows}}


def _meteor(found: Sequence[str], known: Sequence[Sequence[str]]) -> tuple[Any, Sequence[Any]]:
    try:
        check_meteor()
    except UserError:
        return METEOR, [METEOR] * len(found)
    return meteor(found, known)


def _from_strings(gt: Record, predictions: Sequence[Record]) -> Record:
    references, given = _references(gt), {own["image_id"]: own["caption"] for own in predictions}
    truth = [CaptionTruth(image_id, tuple(references[image_id])) for image_id in references if image_id in given]
    metric = CaptionMetric()
    for first in range(0, len(truth), BATCH):
        part = truth[first : first + BATCH]
        metric.update([given[own.image_id] for own in part], part)
    return {"scores": _named(metric.compute())}


def _references(gt: Record) -> dict[int, list[str]]:
    references: dict[int, list[str]] = {image["id"]: [] for image in gt["images"]}
    for own in gt["annotations"]:
        references[own["image_id"]].append(own["caption"])
    return {image_id: captions for image_id, captions in references.items() if captions}


def _split_otherwise(gt: Record, predictions: Sequence[Record], tokens: tuple[Lines, Lines]) -> tuple[int, int]:
    """How many captions of predictions and references our tokenizer splits otherwise, and of how many."""
    references, given = _references(gt), {own["image_id"]: own["caption"] for own in predictions}
    ids = [image_id for image_id in references if image_id in given]
    pairs = []
    for strings, lines in (([references[own] for own in ids], tokens[0]), ([[given[own]] for own in ids], tokens[1])):
        ours = tokenised([caption for captions in strings for caption in captions])
        theirs = [line for own in ids for line in lines[str(own)]]
        pairs += list(zip(ours, theirs, strict=True))
    return sum(ours != theirs for ours, theirs in pairs), len(pairs)


def _named(scores: CaptionScores, meteor: Any = METEOR) -> Record:
    return {theirs: getattr(scores, ours) for theirs, ours in NAMES.items()} | {"METEOR": meteor}
