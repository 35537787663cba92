"""A cleaned copy of annotation files: what their readers refuse is removed or mended, and every change is listed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from glipv2.checking.documents import BrokenPictures, Change, Document, JsonLines, JsonLists, encoded
from glipv2.checking.opening import Input, open_input
from glipv2.data.coco import CocoDataset
from glipv2.data.faults import read_json
from glipv2.data.odvg import OdvgDetection
from glipv2.errors import UserError
from glipv2.report.page import write_whole

ROUNDS = 8  # a record tells one fault at a time


@dataclass(frozen=True)
class FileChange:
    """What was done to the record at `place` of a file."""

    file: str
    place: str
    what: str


def fix(sources: Sequence[Input], broken: Mapping[str, Sequence[str]], folder: Path) -> list[FileChange]:
    """Writes cleaned copies of the sources to `folder`, under their own names, and changes.json beside them.

    broken: by file, pictures that can't be used; their records are removed. Raises UserError for a folder
    that is not empty, for sources of one name, and for what is neither an object of lists nor ODVG lines.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--fix {folder}: expected a new or an empty folder; nothing is written over")
    names = [source.path.name for source in sources]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"--fix {folder}: two files are called {twice[0]}; fix one at a time")
    documents = [_document(source) for source in sources]
    changes: list[FileChange] = []
    for source, document in zip(sources, documents, strict=True):
        found = _fixed(source, document, frozenset(broken.get(str(source.path), ())), folder / source.path.name)
        changes += [FileChange(str(source.path), change.place, change.what) for change in found]
    write_whole(folder / "changes.json", encoded([asdict(change) for change in changes]))
    return changes


def _document(source: Input) -> Document:
    """The file as something that can be mended."""
    if source.path.is_file() and source.path.suffix == ".jsonl":
        return JsonLines(source.path.read_text("utf-8-sig", errors="replace"))
    if source.path.is_dir() or source.path.suffix != ".json":
        raise UserError(
            f"--fix can't mend {source.path}: it mends JSON files of COCO, LVIS, MDETR and captions, and ODVG lines; "
            "data convert leaves faulty records out of what it writes"
        )
    content = read_json(source.path, "a JSON file of annotations")
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UserError(f"--fix can't mend {source.path}: it has no list of images; export it again")
    return JsonLists(json.loads(json.dumps(content)))


def _fixed(source: Input, document: Document, broken: frozenset[str], target: Path) -> list[Change]:
    """Mends a copy until its reader finds nothing more."""
    pictures = _pictures(source, broken)
    changes = document.drop_pictures(pictures)
    copy = replace(source, path=target, images=pictures.folder, known=None, own_split="")
    refusal = ""
    for _ in range(ROUNDS):
        write_whole(target, document.encoded())
        opened = open_input(copy)
        found = document.mend(opened.faults)
        changes += [Change(one.place, one.what.replace(str(target), str(source.path))) for one in found]
        refusal = "" if opened.samples is not None else opened.refusal
        if not found:
            break
    if refusal:
        changes.append(Change("", f"nothing usable is left: {refusal.replace(str(target), str(source.path))}"))
    return changes


def _pictures(source: Input, broken: frozenset[str]) -> BrokenPictures:
    """The broken pictures below the folder of the images, which is as given or as found near the file."""
    paths = frozenset(map(Path, broken))
    opened = None if source.images and not paths else open_input(source).images
    folder = source.images or (source.path.parent if opened is None else opened.folder)
    names: dict[int, str] = {}
    if isinstance(opened, CocoDataset) and not isinstance(opened, OdvgDetection):  # whose ids stand in no line
        for index, identity in enumerate(opened.image_ids):
            name = opened.name_of(index)
            if folder / name in paths:
                names[identity] = name
    return BrokenPictures(folder, paths, names)
