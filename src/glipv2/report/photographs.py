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
    """One object: its name and its score in [0, 1]."""

    name: str
    score: float


@dataclass(frozen=True)
class Photograph:
    """A photograph by its file's name.

    picture: the file with boxes drawn on it, None where none was drawn; found: the objects, best first,
    None where predictions.json does not speak of it.
    """

    name: str
    picture: Path | None
    found: tuple[Found, ...] | None


def read_photographs(folder: Path, pictures: Sequence[Path], problems: list[str]) -> tuple[Photograph, ...]:
    """What predictions.json in `folder` speaks of, in its order, then `pictures` that it does not mention.

    What can't be read is added to `problems`.
    """
    names, records = _contents(folder / "predictions.json", problems)
    found: dict[str, list[Found]] = {image: [] for image in names}
    unread = 0
    for record in records:
        image, one = _image_of(record), _found(record)
        if image and one:
            found.setdefault(image, []).append(one)
            names.setdefault(image, _file_name(record))
        else:
            unread += 1
    if unread:
        problems.append(f"predictions.json: {unread} records without a picture or a score were left out")
    left = list(pictures)
    told = [
        Photograph(names[image], _taken(left, image, names[image]), tuple(sorted(objects, key=lambda one: -one.score)))
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


def _found(record: Any) -> Found | None:
    score = record.get("score") if isinstance(record, Mapping) else None
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        return None
    return Found(str(record.get("category_name", f"category {record.get('category_id', '?')}")), float(score))


def _taken(pictures: list[Path], image: str, name: str) -> Path | None:
    """Takes the drawing of an image out of `pictures`: dog_3.png, dog.png or dog.jpg.png for image 3, dog.jpg."""
    original = Path(name)
    for stem in (f"{original.stem}_{image}", original.stem, original.name):
        for path in pictures:
            if path.stem == stem:
                pictures.remove(path)
                return path
    return None
