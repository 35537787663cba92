"""A cleaned copy of an annotation file: what its reader refuses is removed or mended, and every change is listed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from glipv2.checking.opening import Opened, Source, open_source
from glipv2.data.faults import Fault, read_json
from glipv2.errors import UserError
from glipv2.report.page import write_whole

PLACE = re.compile(r"(\w+)\[(\d+)\]")  # "annotations[3] (id 7)"
ROUNDS = 8  # a record tells one fault at a time
PARTS = ("images", "annotations", "questions")


@dataclass(frozen=True)
class Change:
    """What was done to a record; place: of the file it came from, "" where a round before had moved it."""

    file: str
    place: str
    what: str


def fix(sources: Sequence[Source], broken: Mapping[str, Sequence[str]], folder: Path) -> list[Change]:
    """Writes cleaned copies of the sources to `folder`, under their own names, and changes.json beside them.

    broken: by file, pictures that can't be used; their records are removed. Raises UserError for a folder
    that is not empty, for sources of one name, and for a file that isn't an object of lists.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--fix {folder}: expected a new or an empty folder; nothing is written over")
    names = [source.path.name for source in sources]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"--fix {folder}: two files are called {twice[0]}; fix one at a time")
    changes: list[Change] = []
    for source in sources:
        changes += _fixed(source, frozenset(broken.get(str(source.path), ())), folder)
    write_whole(folder / "changes.json", _encoded([asdict(change) for change in changes]))
    return changes


def _fixed(source: Source, broken: frozenset[str], folder: Path) -> list[Change]:
    """Mends a copy until its reader finds nothing more."""
    content = _lists_of(source)
    images = source.images or source.path.parent
    changes = _without_pictures(content, broken, images, str(source.path))
    target = folder / source.path.name
    origin = {part: list(range(len(content[part]))) for part in PARTS if isinstance(content.get(part), list)}
    for part in origin:  # records that went with their pictures leave the others' places as they were
        origin[part] = [place for place, record in enumerate(content[part]) if record is not None]
        content[part] = [record for record in content[part] if record is not None]
    for _ in range(ROUNDS):
        write_whole(target, _encoded(content))
        opened = open_source(replace(source, path=target, images=images))
        faults = [fault for fault in opened.faults if PLACE.match(fault.place)]
        if not faults:
            break
        changes += _mended(content, faults, origin, str(source.path), opened)
    if opened.samples is None:
        changes.append(Change(str(source.path), "", f"nothing usable is left: {opened.refusal}"))
    return changes


def _lists_of(source: Source) -> dict[str, Any]:
    if source.path.is_dir() or source.path.suffix != ".json":
        raise UserError(
            f"--fix can't mend {source.path}: it mends JSON files of COCO, LVIS, MDETR, captions and questions; "
            "data convert leaves faulty records out of what it writes"
        )
    content = read_json(source.path, "a JSON file of annotations")
    if not isinstance(content, dict) or not isinstance(content.get("images", content.get("questions")), list):
        raise UserError(f"--fix can't mend {source.path}: it has no list of images or of questions; export it again")
    return content


def _without_pictures(content: dict[str, Any], broken: frozenset[str], images: Path, file: str) -> list[Change]:
    """Puts None in the place of images whose picture is of no use."""
    changes = []
    for place, record in enumerate(content.get("images", [])):
        name = record.get("file_name") if isinstance(record, dict) else None
        if isinstance(name, str) and str(images / name) in broken:
            content["images"][place] = None
            changes.append(Change(file, f"images[{place}]", f"removed: its picture {name} can't be used"))
    return changes


def _mended(
    content: dict[str, Any], faults: Sequence[Fault], origin: dict[str, list[int]], file: str, opened: Opened
) -> list[Change]:
    """Mends or removes the record of each fault; `origin` keeps where the records stood in the first file."""
    changes, gone = [], {part: set[int]() for part in origin}
    for fault in faults:
        match = PLACE.match(fault.place)
        if match is None or match[1] not in origin:
            continue
        part, index = match[1], int(match[2])
        record = content[part][index]
        place = f"{part}[{origin[part][index]}]{fault.place[match.end() :]}"
        if fault.kind == "duplicate annotation id":
            record["id"] = _free_id(content[part])
            changes.append(Change(file, place, f"given the id {record['id']}: {fault.detail}"))
        elif fault.kind == "box past the border":
            before, record["bbox"] = record["bbox"], _cut(record, content["images"])
            changes.append(Change(file, place, f"bbox {before} cut to {record['bbox']}"))
        elif index not in gone[part]:
            gone[part].add(index)
            changes.append(Change(file, place, f"removed: {fault.detail.replace(opened.file, file)}"))
    for part, places in gone.items():
        content[part] = [record for place, record in enumerate(content[part]) if place not in places]
        origin[part] = [first for place, first in enumerate(origin[part]) if place not in places]
    return changes


def _free_id(records: Sequence[Any]) -> int:
    """One more than the largest id."""
    ids = [record.get("id") for record in records if isinstance(record, dict)]
    return max((identity for identity in ids if isinstance(identity, int)), default=0) + 1


def _cut(record: Mapping[str, Any], images: Sequence[Any]) -> list[float]:
    """The box within its image."""
    image = next(one for one in images if isinstance(one, dict) and one.get("id") == record["image_id"])
    left, top, width, height = record["bbox"]
    right, bottom = min(left + width, image["width"]), min(top + height, image["height"])
    left, top = max(left, 0), max(top, 0)
    return [left, top, right - left, bottom - top]


def _encoded(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode("utf-8", errors="surrogatepass")
