"""Faults of annotation files: all of them are gathered, then told at once or counted and left out."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from glipv2.errors import UserError, nearest

logger = logging.getLogger(__name__)

POLICIES = ("raise", "skip")
SHOWN_FAULTS = 5
PLACE = "\0place"  # key of a record that says itself where it stands, as "line 3": it was read from another layout


class RecordError(Exception):
    """A fault of one record. Its arguments: the kind, for counting, and what to tell."""


class Faults:
    """All faults of a file by kind, with the words for the first few."""

    def __init__(self, path: Path) -> None:
        self.path, self.counts, self.shown = path, Counter[str](), list[str]()
        self.orphans = 0  # annotations whose image is at fault, not they

    def add(self, kind: str, place: str, detail: str, count: int = 1) -> None:
        """One fault, or several of a kind told in one go."""
        self.counts[kind] += count
        if len(self.shown) < SHOWN_FAULTS:
            self.shown.append(f"{place}: {detail}")

    def settle(self, on_error: str) -> dict[str, int]:
        """Raises for them all at once, or logs and gives their numbers."""
        if not self.counts:
            return {}
        if self.orphans and on_error == "skip":
            self.counts["annotation of a faulty image"] += self.orphans
        total, kinds = self.counts.total(), ", ".join(f"{count} {kind}" for kind, count in self.counts.most_common())
        if on_error == "raise":
            remedy = "mend the file, or leave such records out with on_error=skip"
            first = f"{self.path}: {total} fault{'s' * (total > 1)}, first {self.shown[0]}; {remedy}"
            raise UserError("\n  then ".join([first, *self.shown[1:]]) + f"\n  in all {kinds}" * (total > 1))
        logger.warning("%s: skipped %d records: %s; first %s", self.path, total, kinds, self.shown[0])
        return dict(self.counts)


def check_policy(on_error: str) -> None:
    """UserError for a policy that there is not."""
    if on_error not in POLICIES:
        raise UserError(f"expected on_error=raise or skip, but got '{on_error}'; {nearest(on_error, POLICIES)}")


def check_folder(folder: Path) -> None:
    """UserError for an image folder that is not there."""
    if not folder.is_dir():
        raise UserError(f"image folder {folder} is missing or not a folder; check the path")


def read_json(path: Path, expected: str) -> Any:
    """The content of a JSON file; UserError saying what was `expected` when there is none."""
    try:
        text = path.read_bytes()
        if not text.strip():
            raise UserError(f"{path} is empty; expected {expected}")
        return json.loads(text)
    except FileNotFoundError:
        raise UserError(f"annotation file {path} does not exist; check the path") from None
    except json.JSONDecodeError as error:
        remedy = "convert JSON lines (ODVG) to COCO" if error.msg == "Extra data" else "export or copy it again"
        where = f"line {error.lineno} column {error.colno}"
        raise UserError(f"{path} is not JSON: {error.msg}, {where}; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read as JSON ({error}); expected {expected}") from None


def is_listed(path: str, listings: dict[str, frozenset[str]]) -> bool:
    """Whether a file exists; one listing a folder, because asking for each file is slow on network disks."""
    folder, name = os.path.split(path)
    if folder not in listings:
        listings[folder] = frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()
    return name in listings[folder]


def place_of(part: str, index: int, record: Any) -> str:
    """Where a record stands in its file: "images[3] (id 7)", or what it says itself (see PLACE)."""
    if isinstance(record, dict) and PLACE in record:
        return str(record[PLACE])
    identity = f" (id {record['id']})" if isinstance(record, dict) and "id" in record else ""
    return f"{part}[{index}]{identity}"


def read_lines(path: Path, expected: str) -> Iterator[tuple[int, str]]:
    """The lines of a text file that hold anything, with their numbers from 1; UserError where there is no such file."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # some tools begin a file with a byte order mark
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; expected {expected}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read as text ({error}); expected {expected}") from None


def first_there(names: Iterable[Any], folder: Path, listings: dict[str, frozenset[str]]) -> str | None:
    """The first of the names that is a file below the folder, else the first; what is no name is passed by."""
    tried = [name for name in names if isinstance(name, str) and name]
    there = (name for name in tried if is_listed(os.path.join(folder, name), listings))
    return next(there, tried[0] if tried else None)


def is_whole(value: Any) -> bool:
    """Whether a JSON value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)
