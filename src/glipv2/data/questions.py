"""Questions about images as VQA v2 has them: one JSON of questions, and one of what people answered to each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from glipv2.data.captions import KnownImages, kind_of
from glipv2.data.faults import Faults, RecordError, check_policy, is_whole, place_of, read_json
from glipv2.errors import UserError


class AskedRow(NamedTuple):
    """A question; commonest: the answer that its file calls the right one, else the most frequent of its answers."""

    question_id: int
    text: str
    answers: tuple[str, ...] = ()
    kind: str = ""
    answer_kind: str = ""
    commonest: str = ""


@dataclass(frozen=True)
class Answered:
    """What one record of the answers' file says."""

    image_id: Any
    answers: tuple[str, ...]
    kind: str
    answer_kind: str
    commonest: str


def read_questions(
    questions: Path, answers: Path | None, images: KnownImages, on_error: str
) -> dict[int, list[AskedRow]]:
    """Questions by image id, in the order of the file; without answers where there is no file of them.

    Raises UserError for all faults of a file at once; with `on_error="skip"` they are counted and left out.
    """
    check_policy(on_error)
    faults = Faults(questions)
    records = _records(questions, "questions", "the questions of VQA v2")
    known = None if answers is None else _read_answers(answers, on_error)
    found, seen = dict[int, list[AskedRow]](), set[int]()
    for index, record in enumerate(records):
        try:
            row = _asked(record, seen)
            if not images.knows(record["image_id"], faults):
                continue
            own = row if known is None else _with_answers(row, record["image_id"], known, answers)
            if own is not None:
                found.setdefault(record["image_id"], []).append(own)
        except RecordError as error:
            faults.add(error.args[0], place_of("questions", index, record), error.args[1])
    faults.settle(on_error)
    if answers is not None and known is not None:
        _settle_strangers(Faults(answers), known, seen, questions, on_error)
    return found


def _settle_strangers(
    faults: Faults, known: dict[int, Answered | None], asked: set[int], questions: Path, on_error: str
) -> None:
    """Answers to questions that nobody asked."""
    strange = [identity for identity in known if identity not in asked]
    if strange:
        told = f"{len(strange)} of {len(known)} are not among the questions of {questions}"
        places = [(f"question_id {one}", f"is not among the questions of {questions}") for one in strange]
        faults.add_several("unknown question", places, told)
    faults.settle(on_error)


def _records(path: Path, key: str, expected: str) -> list[Any]:
    content = read_json(path, expected)
    records = content.get(key) if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise UserError(f"{path}: expected {expected}, but got {kind_of(content)}")
    answered = key == "annotations"
    if answered and records and not any(isinstance(record, dict) and "answers" in record for record in records):
        raise UserError(f"{path}: expected {expected}, but got {kind_of(content)}: no record has 'answers'")
    return records


def _asked(record: Any, seen: set[int]) -> AskedRow:
    if isinstance(record, dict) and not record.keys() >= {"question_id", "image_id", "question"}:
        raise RecordError("missing field", "has no question_id, no image_id or no question")
    identity, text = _question_id(record, seen), record["question"]
    seen.add(identity)
    if not isinstance(text, str) or not text.strip():
        raise RecordError("no question", f"question {identity} is {text!r}, expected a text")
    return AskedRow(identity, text)


def _question_id(record: Any, seen: Container[int]) -> int:
    if not isinstance(record, dict):
        raise RecordError("malformed record", f"expected an object, but got {record!r}")
    identity = record.get("question_id")
    if not isinstance(identity, int) or not is_whole(identity) or abs(identity) >= 2**63:
        raise RecordError("malformed question id", f"expected a whole number as question_id, but got {identity!r}")
    if identity in seen:
        raise RecordError("duplicate question id", f"question_id {identity} occurs twice, expected each once")
    return identity


def _with_answers(
    row: AskedRow, image_id: int, known: dict[int, Answered | None], answers: Path | None
) -> AskedRow | None:
    """None where the answers are at fault, which is told of their file."""
    if row.question_id not in known:
        raise RecordError("question without an answer", f"question {row.question_id} has no record in {answers}")
    own = known[row.question_id]
    if own is None:
        return None
    if own.image_id not in (None, image_id):
        detail = f"question {row.question_id} is about image {image_id}, but {answers} says {own.image_id!r}"
        raise RecordError("answers about another image", detail)
    return AskedRow(row.question_id, row.text, own.answers, own.kind, own.answer_kind, own.commonest)


def _read_answers(path: Path, on_error: str) -> dict[int, Answered | None]:
    """What was answered, by question id; None where the record is at fault."""
    faults, found = Faults(path), dict[int, Answered | None]()
    for index, record in enumerate(_records(path, "annotations", "the answers (annotations) of VQA v2")):
        try:
            identity = _question_id(record, found)
            found[identity] = None
            found[identity] = _answered(record)
        except RecordError as error:
            faults.add(error.args[0], place_of("annotations", index, record), error.args[1])
    faults.settle(on_error)
    return found


def _answered(record: dict[str, Any]) -> Answered:
    given, identity = record.get("answers"), record["question_id"]
    if not isinstance(given, list) or not given:
        raise RecordError("no answers", f"question {identity} has answers {given!r}, expected a list of at least one")
    said = [own.get("answer") if isinstance(own, dict) else own for own in given]
    texts = [text for text in said if isinstance(text, str) and text.strip()]
    if len(texts) < len(said):
        detail = f"question {identity} has an answer that is empty or no text; expected [{{answer: TEXT}}, ...]"
        raise RecordError("empty answer", detail)
    right = record.get("multiple_choice_answer")
    commonest = right if isinstance(right, str) and right.strip() else Counter(texts).most_common(1)[0][0]
    kind, answer_kind = (str(record.get(key) or "") for key in ("question_type", "answer_type"))
    return Answered(record.get("image_id"), tuple(texts), kind, answer_kind, commonest)
