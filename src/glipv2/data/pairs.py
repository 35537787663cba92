"""Images with a sentence each, as they are gathered from the web: what pseudo-labels are made of."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glipv2.data.captions import caption_content
from glipv2.data.faults import Faults, check_folder, check_policy, place_of
from glipv2.errors import UserError

NAME_KEYS = ("filename", "file_name", "image", "path")
SUFFIXES = (".json", ".jsonl", ".csv", ".tsv")
FORMS = (
    'COCO captions (.json), lines of {"filename": …, "caption": …} (.jsonl), or a table with the columns filename '
    "and caption (.csv, .tsv)"
)


@dataclass(frozen=True)
class Pair:
    """An image's file name, relative to the images' folder, and a sentence about it."""

    name: str
    caption: str


def read_pairs(path: Path, images: Path, on_error: str) -> tuple[list[Pair], dict[str, int]]:
    """All pairs of a file in its order, and how many faulty ones were left out, by kind.

    Raises UserError for all faults at once; with `on_error="skip"` they are counted and left out.
    """
    check_policy(on_error)
    check_folder(images)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: expected {FORMS}")
    if not path.is_file():
        raise UserError(f"{path} does not exist; check the path")
    faults, pairs = Faults(path), list[Pair]()
    for place, name, caption in _records(path):
        if not isinstance(name, str) or not name:
            faults.add("missing field", place, f"expected a file name, but got {name!r}")
        elif not isinstance(caption, str) or not caption.strip():
            faults.add("no caption", place, f"expected a sentence, but got {caption!r}")
        elif not (images / name).is_file():
            faults.add("missing image file", place, f"{name} is missing from {images}")
        else:
            pairs.append(Pair(name, caption.strip()))
    skipped = faults.settle(on_error)
    if not pairs:
        raise UserError(f"{path}: no image with a caption; expected {FORMS}")
    return pairs, skipped


def _records(path: Path) -> Iterator[tuple[str, Any, Any]]:
    """Where each record stands, its file name and its caption, whatever they are."""
    if path.suffix.lower() == ".json":
        content = caption_content(path)
        names = {own.get("id"): own.get("file_name") for own in content["images"] if isinstance(own, dict)}
        for index, own in enumerate(content["annotations"]):
            found = own if isinstance(own, dict) else {}
            yield place_of("annotations", index, own), names.get(found.get("image_id")), found.get("caption")
        return
    try:
        yield from _lines(path) if path.suffix.lower() == ".jsonl" else _table(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} can't be read ({error}); expected {FORMS} in UTF-8") from error


def _lines(path: Path) -> Iterator[tuple[str, Any, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}: line {number} is not JSON ({error.msg}); expected {FORMS}") from None
            own = record if isinstance(record, dict) else {}
            yield f"line {number}", _first(own), own.get("caption")


def _table(path: Path) -> Iterator[tuple[str, Any, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        tabs = path.suffix.lower() == ".tsv"  # where a quotation mark is one, and a line a record
        rows = csv.DictReader(
            file, dialect="excel-tab" if tabs else "excel", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
        )
        if "caption" not in (rows.fieldnames or ()) or not set(NAME_KEYS) & set(rows.fieldnames or ()):
            raise UserError(
                f"{path}: expected columns filename and caption, but got {', '.join(rows.fieldnames or ())}"
            )
        for row in rows:
            yield f"line {rows.line_num}", _first(row), row["caption"]


def _first(record: dict[str, Any]) -> Any:
    return next((record[key] for key in NAME_KEYS if key in record), None)
