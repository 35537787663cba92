"""Faults of annotation files: all of them are gathered, then told at once or counted and left out."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from glipv2.errors import UserError, nearest

logger = logging.getLogger(__name__)

POLICIES = ("raise", "skip")
SHOWN_FAULTS = 5
PLACE = "\0place"  # key of a record that says itself where it stands, as "line 3": it was read from another layout


class RecordError(Exception):
    """A fault of one record. Its arguments: the kind, for counting, and what to tell."""


@dataclass(frozen=True)
class Fault:
    """A fault of the record at `place` of a file. severe: the record can't be used; else it was mended (cut).

    count: of how many records, where their places are not told.
    """

    path: Path
    kind: str
    place: str
    detail: str
    severe: bool = True
    count: int = 1


ORPHANS = "annotation of a faulty image"
_gathering: ContextVar[_Gathering | None] = ContextVar("gathering", default=None)


@dataclass(frozen=True)
class _Gathering:
    found: list[Fault]
    mended: bool


@contextmanager
def gathered(*, mended: bool = False) -> Iterator[list[Fault]]:
    """Every fault that readers settle inside, one by one; with on_error="skip" the caller tells of them.

    mended: also what is no reason to leave a record out.
    """
    gathering = _Gathering([], mended)
    token = _gathering.set(gathering)
    try:
        yield gathering.found
    finally:
        _gathering.reset(token)


def tell_skipped(faults: Sequence[Fault]) -> dict[str, dict[str, int]]:
    """Logs, a line a file, how many records were left out, and gives their numbers by file and kind.

    A record that several tasks left out, each having opened the file for itself, counts once.
    """
    once = list({(fault.path, fault.place or fault.kind): fault for fault in reversed(faults) if fault.severe}.values())
    found: dict[str, Counter[str]] = {}
    for fault in reversed(once):
        found.setdefault(str(fault.path), Counter())[fault.kind] += fault.count
    for path, counts in found.items():
        first = next(fault for fault in reversed(once) if str(fault.path) == path)
        _log_skipped(path, counts, f"{first.place}: {first.detail}")
    return {path: dict(counts) for path, counts in found.items()}


def _log_skipped(path: Path | str, counts: Counter[str], first: str) -> None:
    logger.warning("%s: skipped %d records: %s; first %s", path, counts.total(), _kinds(counts), first)


def _kinds(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


class Faults:
    """All faults of a file by kind, with the words for the first few."""

    def __init__(self, path: Path) -> None:
        self.path, self.counts, self.shown = path, Counter[str](), list[str]()
        self.orphans = 0  # annotations whose image is at fault, not they
        self._gathering = _gathering.get()

    def add(self, kind: str, place: str, detail: str) -> None:
        """One fault."""
        self.add_several(kind, [(place, detail)], detail)

    def add_several(self, kind: str, places: Sequence[tuple[str, str]], told: str) -> None:
        """Faults of a kind (at least one), each with its place and detail, `told` in one go at the first place."""
        self.counts[kind] += len(places)
        if len(self.shown) < SHOWN_FAULTS:
            self.shown.append(f"{places[0][0]}: {told}")
        if self._gathering is not None:
            self._gathering.found.extend(Fault(self.path, kind, place, detail) for place, detail in places)

    def remark(self, kind: str, place: str, detail: str) -> None:
        """What was mended in a record that is used; only `gathered` hears of it."""
        if self._gathering is not None and self._gathering.mended:
            self._gathering.found.append(Fault(self.path, kind, place, detail, severe=False))

    def settle(self, on_error: str) -> dict[str, int]:
        """Raises for them all at once, or logs and gives their numbers."""
        if not self.counts:
            return {}
        if self.orphans and on_error == "skip":
            self.counts[ORPHANS] += self.orphans
            if self._gathering is not None:
                self._gathering.found.append(Fault(self.path, ORPHANS, "", "", count=self.orphans))
        total = self.counts.total()
        if on_error == "raise":
            remedy = "mend the file, or leave such records out with on_error=skip"
            first = f"{self.path}: {total} fault{'s' * (total > 1)}, first {self.shown[0]}; {remedy}"
            raise UserError(
                "\n  then ".join([first, *self.shown[1:]]) + f"\n  in all {_kinds(self.counts)}" * (total > 1)
            )
        if self._gathering is None:
            _log_skipped(self.path, self.counts, self.shown[0])
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
        if text.strip():
            return json.loads(text)
    except FileNotFoundError:
        raise UserError(f"annotation file {path} does not exist; check the path") from None
    except json.JSONDecodeError as error:
        remedy = "convert JSON lines (ODVG) to COCO" if error.msg == "Extra data" else "export or copy it again"
        where = f"line {error.lineno} column {error.colno}"
        raise UserError(f"{path} is not JSON: {error.msg}, {where}; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read as JSON ({error}); expected {expected}") from None
    raise UserError(f"{path} is empty; expected {expected}")


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


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a JSON value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)
