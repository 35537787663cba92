"""Which of the known layouts a file or a folder of annotations has, and how that is seen."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from glipv2.data.faults import RecordError, read_json, read_lines
from glipv2.data.karpathy import file_names, is_karpathy, karpathy_splits
from glipv2.data.shards.layout import INDEX, is_index, read_index
from glipv2.data.voc import listed_name, read_xml, voc_splits
from glipv2.data.yolo import read_description, yolo_splits
from glipv2.errors import UserError

SAMPLES = 4  # images by which their folder is found
SEARCHED = (".json", ".jsonl")


class Format(Enum):
    """What is read, in the words of messages."""

    COCO = "COCO instances"
    LVIS = "LVIS v1"
    OBJECTS365 = "Objects365"
    CAPTIONS = "COCO captions"
    KARPATHY = "Karpathy's caption splits"
    QUESTIONS = "VQA v2 questions"
    ANSWERS = "VQA v2 annotations"
    MDETR = "MDETR grounding"
    ODVG = "ODVG detection lines"
    ODVG_GROUNDING = "ODVG grounding lines"
    REFERENCES = "referring expressions, a JSON line each"
    FLICKR30K = "Flickr30k Entities"
    YOLO = "YOLO"
    VOC = "Pascal VOC"
    PACKED = "packed shards"


@dataclass(frozen=True)
class Recognised:
    """path: the file, or the folder of a layout of several files. why: what it is known by.

    images: names (with the places where they may lie below their folder, best first) or ids of some images.
    splits: those of a layout that has several, () for a file, which is one.
    """

    path: Path
    format: Format
    why: str
    images: tuple[tuple[str, ...] | int, ...] = ()
    splits: tuple[str, ...] = ()


def recognise(path: Path) -> list[Recognised]:
    """A file as what it is; a folder as what it is, or as what is known in it and in the folders just below.

    UserError, listing what was looked for, for what is none of them.
    """
    if path.is_dir():
        found = _layouts(path) or _parts(path)
        if not found:
            raise UserError(f"{path} holds no known annotations; looked for {LOOKED_FOR}")
        return found
    if not path.is_file():
        raise UserError(f"{path} does not exist; check the path (seen from {Path.cwd()})")
    return [recognise_file(path)]


def recognise_file(path: Path) -> Recognised:
    """A file as what it is, by its content; UserError for none of them."""
    stat = os.stat(path)
    return _recognised(path, (stat.st_mtime_ns, stat.st_size))


LOOKED_FOR = (
    "data.yaml with names (YOLO); Annotations/*.xml with ImageSets/Main/*.txt (Pascal VOC) or with Sentences/*.txt "
    "(Flickr30k Entities); *.json with images, annotations and categories (COCO, LVIS, Objects365), captions, "
    "tokens_positive (MDETR) or questions (VQA v2); *.jsonl with detection, grounding (ODVG) or expression"
)


@lru_cache(maxsize=256)  # a large file takes seconds, and is asked for by the checks of a run and by the run
def _recognised(path: Path, stamp: tuple[int, int]) -> Recognised:
    if path.suffix.lower() in (".yaml", ".yml"):
        content = read_description(path)
        return Recognised(path, Format.YOLO, "it has names and splits", splits=yolo_splits(content))
    content, seen = _content_of(path)
    if not seen and is_karpathy(content):
        own = _names(_records(content, "images"), file_names)
        why = "its images have sentences and a split"
        return Recognised(path, Format.KARPATHY, why, own, karpathy_splits(content))
    for known in BY_LINE if seen else BY_CONTENT:
        found = known(content)
        if found is not None:
            return Recognised(path, *found)
    keys = ", ".join(map(str, islice(content, 8))) if isinstance(content, dict) else type(content).__name__
    raise UserError(f"{path} is none of the known layouts (it has: {keys or 'nothing'}); looked for {LOOKED_FOR}")


def _content_of(path: Path) -> tuple[Any, bool]:
    """The first line of a file of JSON lines, or all of a JSON file; whether it is the former."""
    first = next(read_lines(path, "annotations"), (0, ""))[1].strip()
    if first.startswith("{"):
        try:
            content = json.loads(first)
        except (ValueError, RecursionError):
            return read_json(path, "annotations as JSON"), False
        lines = isinstance(content, dict) and any(key in content for key in ("detection", "grounding", "expression"))
        return content, lines
    if first and not first.startswith("[") and path.suffix.lower() != ".json":
        raise UserError(f"{path} is none of the known layouts (it begins with {first[:20]!r}); looked for {LOOKED_FOR}")
    return read_json(path, "annotations as JSON"), False


Found = tuple[Format, str, tuple[tuple[str, ...] | int, ...]] | None


def _by_line(format: Format, key: str) -> Callable[[Mapping[str, Any]], Found]:
    def known(line: Mapping[str, Any]) -> Found:
        name, number = line.get("filename"), line.get("image_id")
        images = ((name,),) if isinstance(name, str) else (number,) if isinstance(number, int) else ()
        return (format, f"its first line has '{key}'", images) if key in line else None

    return known


def _instances(content: Any) -> Found:
    if not all(isinstance(_get(content, key), list) for key in ("images", "annotations", "categories")):
        return None
    images = [record for record in content["images"][:1000] if isinstance(record, dict)]
    if any("neg_category_ids" in record for record in images):
        return Format.LVIS, "its images have neg_category_ids", _names(images, _lvis_names)
    if any("objects365_v" in str(record.get("file_name")) for record in images):
        return Format.OBJECTS365, "its images are named objects365_v1 or _v2", _names(images, _last_parts)
    return Format.COCO, "it has images, annotations and categories", _names(images, lambda record: record["file_name"])


def _grounding(content: Any) -> Found:
    images, boxes = _records(content, "images"), _records(content, "annotations")
    spans = any("tokens_positive" in record or "tokens" in record for record in boxes[:100])
    if not spans and not any("caption" in record for record in images[:100]):
        return None
    why = "its annotations have tokens_positive" if spans else "its images have captions"
    return Format.MDETR, why, _names(images, lambda record: record["file_name"])


def _captions(content: Any) -> Found:
    images, texts = _records(content, "images"), _records(content, "annotations")
    if not images or not any("caption" in record for record in texts[:100]):
        return None
    return Format.CAPTIONS, "its annotations have captions", _names(images, lambda record: record["file_name"])


def _questions(content: Any) -> Found:
    asked = _records(content, "questions")
    return (Format.QUESTIONS, "it has questions", _ids(asked)) if asked else None


def _answers(content: Any) -> Found:
    told = _records(content, "annotations")
    if not any("answers" in record and "question_id" in record for record in told[:100]):
        return None
    return Format.ANSWERS, "its annotations have answers", _ids(told)


BY_LINE = (
    _by_line(Format.ODVG, "detection"),
    _by_line(Format.ODVG_GROUNDING, "grounding"),
    _by_line(Format.REFERENCES, "expression"),
)
BY_CONTENT = (_questions, _answers, _grounding, _captions, _instances)


def _layouts(folder: Path) -> list[Recognised]:
    """The layouts of several files that the folder has."""
    if (folder / INDEX).is_file() and is_index(read_json(folder / INDEX, "an index of shards")):
        index = read_index((folder / INDEX).read_bytes(), str(folder / INDEX))
        return [Recognised(folder, Format.PACKED, f"its {INDEX} lists shards", splits=tuple(index.splits))]
    found = []
    descriptions = [path for name in ("data.yaml", "dataset.yaml") if (path := folder / name).is_file()]
    if not descriptions and (folder / "labels").is_dir():
        descriptions = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])[:1]
    found += [recognise_file(path) for path in descriptions[:1]]
    documents = next((folder / "Annotations").glob("*.xml"), None) if (folder / "Annotations").is_dir() else None
    if documents is not None and (folder / "Sentences").is_dir():
        splits = tuple(sorted(path.stem for path in folder.glob("*.txt")))
        why = "it has Annotations and Sentences"
        found.append(Recognised(folder, Format.FLICKR30K, why, splits=splits))
    elif documents is not None and (lists := voc_splits(folder)):
        why = "it has Annotations/*.xml and ImageSets/Main"
        found.append(Recognised(folder, Format.VOC, why, splits=tuple(lists)))
    return found


def with_images(found: Recognised, split: str) -> Recognised:
    """A folder of XML files with the names of some images of a split; what can't be read is told by the reader."""
    folder = found.path
    listed = voc_splits(folder)[split] if found.format is Format.VOC else folder / f"{split}.txt"
    names: list[tuple[str, ...]] = []
    for _, line in islice(read_lines(listed, "a name a line"), SAMPLES):
        path = folder / "Annotations" / f"{listed_name(folder, line.strip())}.xml"
        try:
            tree = read_xml(path)
        except RecordError:
            continue
        name, inner = ((tree.findtext(tag) or "").strip() for tag in ("filename", "folder"))
        name = name or f"{path.stem}.jpg"
        names.append((name, f"{inner}/{name}") if inner else (name,))
    return replace(found, images=tuple(names))


def _parts(folder: Path) -> list[Recognised]:
    """The known files of the folder and of those just below, and what these are; other JSON files are no fault."""
    inner = sorted(own for own in folder.iterdir() if own.is_dir() and not own.name.startswith("."))
    layouts = [one for own in inner for one in _layouts(own)]
    paths = [path for suffix in SEARCHED for pattern in ("*", "*/*") for path in folder.glob(pattern + suffix)]
    found = []
    for path in sorted(paths):
        try:
            found.append(recognise_file(path))
        except UserError:
            continue
    return found + layouts


def _get(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, dict) else None


def _records(content: Any, key: str) -> Sequence[Mapping[str, Any]]:
    """The objects of a list."""
    given = _get(content, key)
    return [record for record in given if isinstance(record, dict)] if isinstance(given, list) else []


def _names(records: Sequence[Mapping[str, Any]], name: Callable[[Mapping[str, Any]], Any]) -> tuple[Any, ...]:
    """Of a few records, spread over those given."""
    chosen = records[:: max(1, len(records) // SAMPLES)][:SAMPLES]
    found = []
    for record in chosen:
        try:
            own = name(record)
        except (KeyError, TypeError):
            continue
        if isinstance(own, str | tuple):
            found.append((own,) if isinstance(own, str) else own)
    return tuple(found)


def _ids(records: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    chosen = records[:: max(1, len(records) // SAMPLES)][:SAMPLES]
    return tuple(record["image_id"] for record in chosen if isinstance(record.get("image_id"), int))


def _last_parts(record: Mapping[str, Any]) -> tuple[str, ...]:
    parts = PurePosixPath(record["file_name"]).parts
    return (record["file_name"], "/".join(parts[-2:]), parts[-1])


def _lvis_names(record: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(record.get("file_name"), str):
        return _last_parts(record)
    parts = str(record["coco_url"]).split("/")
    return ("/".join(parts[-2:]), parts[-1])
