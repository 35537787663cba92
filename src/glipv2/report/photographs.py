"""Predictions on a user's own photographs: the drawn pictures and what was found in each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Where a record without a list of images may say which picture it is of, the most telling first.
NAME_KEYS = ("file_name", "image", "image_id")


@dataclass(frozen=True)
class Found:
    """One object or phrase: its name and its score in [0, 1], None for a phrase that was not found."""

    name: str
    score: float | None


@dataclass(frozen=True)
class Photograph:
    """A photograph by its file's name.

    picture: the file with boxes drawn on it, None where none was drawn; found: the objects, best first,
    None where predictions.json does not speak of it; said: captions, and questions with their answers.
    """

    name: str
    picture: Path | None
    found: tuple[Found, ...] | None
    said: tuple[str, ...] = ()


def read_photographs(folder: Path, pictures: Sequence[Path], problems: list[str]) -> tuple[Photograph, ...]:
    """What predictions.json in `folder` speaks of, in its order, then `pictures` that it does not mention.

    What can't be read is added to `problems`.
    """
    names, records = _contents(folder / "predictions.json", problems)
    found: dict[str, list[Found]] = {image: [] for image in names}
    said: dict[str, list[str]] = {}
    unread = 0
    for record in records:
        image, objects, sentence = _image_of(record), _found(record), _said(record)
        if image and (objects or sentence):
            found.setdefault(image, []).extend(objects)
            said.setdefault(image, []).extend([sentence] if sentence else [])
            names.setdefault(image, _file_name(record))
        else:
            unread += 1
    if unread:
        problems.append(f"predictions.json: {unread} records without a picture or a score were left out")
    left = list(pictures)
    told = [
        Photograph(names[image], _taken(left, image, names[image]), _best_first(objects), tuple(said.get(image, ())))
        for image, objects in found.items()
    ]
    return (*told, *(Photograph(path.stem, path, None) for path in left))


def _contents(path: Path, problems: list[str]) -> tuple[dict[str, str], list[Any]]:
    """File names by image id, and the records: of a COCO file in full, or of a bare list of results."""
    if not path.is_file():
        return {}, []
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path.name} could not be read: {error}")
        return {}, []
    images, records = ([], value) if isinstance(value, list) else ([], None)
    if isinstance(value, dict):
        images, records = value.get("images", []), value.get("annotations")
    if not isinstance(records, list) or not isinstance(images, list):
        problems.append(f"{path.name}: expected a list of results, or lists called images and annotations")
        return {}, []
    known = [image for image in images if isinstance(image, Mapping) and "id" in image and "file_name" in image]
    return {str(image["id"]): str(image["file_name"]) for image in known}, records


def _image_of(record: Any) -> str:
    """The id of the record's image, or its name where there is no id; "" where there is neither."""
    if not isinstance(record, Mapping):
        return ""
    return next((str(record[key]) for key in reversed(NAME_KEYS) if key in record), "")


def _file_name(record: Mapping[str, Any]) -> str:
    return next(str(record[key]) for key in NAME_KEYS if key in record)


def _found(record: Any) -> list[Found]:
    """The object of a record, or the phrases of one about a text, each with its best box's score."""
    if not isinstance(record, Mapping):
        return []
    if isinstance(phrases := record.get("phrases"), list):
        known = [phrase for phrase in phrases if isinstance(phrase, Mapping) and "phrase" in phrase]
        return [Found(str(phrase["phrase"]), _best(phrase.get("scores"))) for phrase in known]
    score = _number(record.get("score"))
    if score is None or "caption" in record:
        return []
    return [Found(str(record.get("category_name", f"category {record.get('category_id', '?')}")), score)]


def _said(record: Any) -> str:
    """What a record says in words: a question with its answer, or a caption, with how sure it is."""
    if not isinstance(record, Mapping):
        return ""
    if "question" in record and "answer" in record:
        return f"{record['question']} {record['answer']}{_shown(_first_probability(record.get('answers')))}"
    return f"{record['caption']}{_shown(_number(record.get('score')))}" if "caption" in record else ""


def _first_probability(answers: Any) -> float | None:
    first = answers[0] if isinstance(answers, list) and answers else None
    return _number(first[1]) if isinstance(first, list) and len(first) == 2 else None


def _shown(score: float | None) -> str:
    return "" if score is None else f" {score:.2f}"


def _best(scores: Any) -> float | None:
    known = [score for score in map(_number, scores) if score is not None] if isinstance(scores, list) else []
    return max(known, default=None)


def _number(value: Any) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)


def _best_first(objects: Sequence[Found]) -> tuple[Found, ...]:
    return tuple(sorted(objects, key=lambda one: 2.0 if one.score is None else -one.score))


def _taken(pictures: list[Path], image: str, name: str) -> Path | None:
    """Takes the drawing of an image out of `pictures`: dog_3.png, dog.png or dog.jpg.png for image 3, dog.jpg."""
    original = Path(name)
    for stem in (f"{original.stem}_{image}", original.stem, original.name):
        for path in pictures:
            if path.stem == stem:
                pictures.remove(path)
                return path
    return None
