"""Annotation files whose records can be removed or mended one by one, by the places that readers tell."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glipv2.data.faults import Fault

LIST_PLACE = re.compile(r"(\w+)\[(\d+)\]")  # "annotations[3] (id 7)"
LINE_PLACE = re.compile(r"line (\d+)(?:: (\w+)\[(\d+)\])?")  # "line 3: regions[0]"
DUPLICATE_ID, PAST_BORDER = "duplicate annotation id", "box past the border"


@dataclass(frozen=True)
class BrokenPictures:
    """Paths of pictures that can't be used, the folder that file names start from, and names by image id.

    names: of the broken pictures of a reader that may find them by something else than their `file_name`.
    """

    folder: Path
    paths: AbstractSet[Path]
    names: Mapping[int, str]

    def name_in(self, record: Any, key: str = "file_name") -> str | None:
        """The name of the broken picture that a record is of; None where it is of none."""
        if not isinstance(record, dict):
            return None
        name, identity = record.get(key), record.get("id")
        if isinstance(name, str) and self.folder / name in self.paths:
            return name
        return self.names.get(identity) if isinstance(identity, int) else None


@dataclass(frozen=True)
class Change:
    """What was done to the record at `place`, which is that of the file as it was given."""

    place: str
    what: str


class Document(ABC):
    """The content of a file while it is mended."""

    @abstractmethod
    def encoded(self) -> bytes:
        """The file as it is now."""

    @abstractmethod
    def drop_pictures(self, broken: BrokenPictures) -> list[Change]:
        """Removes the images of these pictures."""

    @abstractmethod
    def mend(self, faults: Sequence[Fault]) -> list[Change]:
        """Mends or removes the record of each fault that its reader told of `encoded()`."""


class JsonLists(Document):
    """An object of lists: COCO, LVIS, captions, MDETR."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.origin = {part: list(range(len(own))) for part, own in content.items() if isinstance(own, list)}

    def encoded(self) -> bytes:
        return encoded(self.content)

    def drop_pictures(self, broken: BrokenPictures) -> list[Change]:
        gone = {
            place: name
            for place, record in enumerate(self.content["images"])
            if (name := broken.name_in(record)) is not None
        }
        changes = [Change(f"images[{place}]", f"removed: its picture {name} is of no use")
                   for place, name in gone.items()]  # fmt: skip
        self._remove("images", gone.keys())
        return changes

    def mend(self, faults: Sequence[Fault]) -> list[Change]:
        changes: list[Change] = []
        gone: dict[str, set[int]] = {part: set() for part in self.origin}
        for fault in faults:
            match = LIST_PLACE.match(fault.place)
            if match is None or match[1] not in self.origin or int(match[2]) in gone[match[1]]:
                continue
            part, index = match[1], int(match[2])
            record = self.content[part][index]
            place = f"{part}[{self.origin[part][index]}]{fault.place[match.end() :]}"
            if fault.kind == DUPLICATE_ID and isinstance(record.get("id"), int):
                record["id"] = _free_id(self.content[part])
                changes.append(Change(place, f"given the id {record['id']}: {fault.detail}"))
            elif fault.kind == PAST_BORDER:
                before, record["bbox"] = record["bbox"], self._cut(record)
                changes.append(Change(place, f"bbox {before} cut to {record['bbox']}"))
            else:
                gone[part].add(index)
                changes.append(Change(place, f"removed: {fault.detail}"))
        for part, places in gone.items():
            self._remove(part, places)
        return changes

    def _remove(self, part: str, places: AbstractSet[int]) -> None:
        for rows in (self.content[part], self.origin[part]):
            rows[:] = [row for place, row in enumerate(rows) if place not in places]

    def _cut(self, record: Mapping[str, Any]) -> list[float]:
        """The box within its image."""
        own = record["image_id"]
        image = next(one for one in self.content["images"] if isinstance(one, dict) and one.get("id") == own)
        left, top, width, height = record["bbox"]
        corners = _within((left, top, left + width, top + height), image)
        return [corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1]]


class JsonLines(Document):
    """ODVG: an object a line. A removed line stays blank until the end, so that the others keep their numbers.

    text: as a file opened for text gives it. Its lines end at newlines alone, as for `read_lines`.
    """

    def __init__(self, text: str) -> None:
        self.lines: list[Any] = [_parsed(line) for line in text.split("\n")]  # splitlines() also ends them at U+2028
        self.origin: dict[tuple[int, str], list[int]] = {}

    def encoded(self) -> bytes:
        rows = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in self.lines]
        return ("\n".join(rows).rstrip("\n") + "\n").encode("utf-8", errors="surrogatepass")

    def drop_pictures(self, broken: BrokenPictures) -> list[Change]:
        changes = []
        for index, line in enumerate(self.lines):
            name = broken.name_in(line, "filename")
            if name is not None:
                self.lines[index] = ""
                changes.append(Change(f"line {index + 1}", f"removed: its picture {name} is of no use"))
        return changes

    def mend(self, faults: Sequence[Fault]) -> list[Change]:
        changes: list[Change] = []
        gone: dict[tuple[int, str], set[int]] = {}
        for fault in faults:
            match = LINE_PLACE.fullmatch(fault.place)
            if match is None or self.lines[int(match[1]) - 1] == "":
                continue
            index, part = int(match[1]) - 1, match[2]
            if part is None:
                self.lines[index] = ""
                changes.append(Change(fault.place, f"removed: {fault.detail}"))
                continue
            rows, item = self._rows(index, part), int(match[3])
            origin = self.origin.setdefault((index, part), list(range(len(rows))))
            place = f"line {index + 1}: {part}[{origin[item]}]"
            if fault.kind == PAST_BORDER and not isinstance(rows[item]["bbox"][0], list):
                before, rows[item]["bbox"] = rows[item]["bbox"], _within(rows[item]["bbox"], self.lines[index])
                changes.append(Change(place, f"bbox {before} cut to {rows[item]['bbox']}"))
            elif fault.severe and item not in gone.setdefault((index, part), set()):
                gone[index, part].add(item)
                changes.append(Change(place, f"removed: {fault.detail}"))
        for (index, part), items in gone.items():
            for own in (self._rows(index, part), self.origin[index, part]) if self.lines[index] else ():
                own[:] = [row for item, row in enumerate(own) if item not in items]
        return changes

    def _rows(self, index: int, part: str) -> list[Any]:
        """The instances or regions of a line."""
        rows: list[Any] = self.lines[index]["detection" if part == "instances" else "grounding"][part]
        return rows


def encoded(content: Any) -> bytes:
    """JSON as a file holds it."""
    return json.dumps(content, ensure_ascii=False).encode("utf-8", errors="surrogatepass")


def _parsed(line: str) -> Any:
    """An object; the text where it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return line
    return value if isinstance(value, dict) else line


def _free_id(records: Sequence[Any]) -> int:
    """One more than the largest id."""
    ids = [record.get("id") for record in records if isinstance(record, dict)]
    return max((identity for identity in ids if isinstance(identity, int)), default=0) + 1


def _within(corners: Sequence[float], image: Mapping[str, Any]) -> list[float]:
    """[left, top, right, bottom] within an image."""
    left, top, right, bottom = corners
    return [max(left, 0), max(top, 0), min(right, image["width"]), min(bottom, image["height"])]
