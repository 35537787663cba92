"""COCO captions files: one JSON of images and annotations, each a sentence about an image."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glipv2.data.faults import Faults, RecordError, check_policy, is_whole, place_of, read_json
from glipv2.errors import UserError


@dataclass(frozen=True)
class KnownImages:
    """The images that texts may be about.

    dropped: ids of those whose records are at fault; source: what they are, for messages; complete: texts
    about other images are a fault (else they are left out).
    """

    ids: Container[Any]
    dropped: Container[Any]
    source: str
    complete: bool = True

    def knows(self, image_id: Any, faults: Faults) -> bool:
        """Whether texts about the image are wanted; RecordError where it should be among them and is not."""
        if not is_whole(image_id):
            raise RecordError("malformed image id", f"expected a whole number as image_id, but got {image_id!r}")
        if image_id in self.ids:
            return True
        if self.complete and image_id not in self.dropped:
            raise RecordError("unknown image", f"image_id {image_id} is not among the images of {self.source}")
        faults.orphans += image_id in self.dropped
        return False


def caption_content(path: Path) -> dict[str, list[Any]]:
    """The lists of a captions file; UserError saying what another file is."""
    content = read_json(path, "a COCO captions file")
    records = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(records, list) or not isinstance(content.get("images"), list):
        raise UserError(f"{path}: expected a COCO captions file, but got {kind_of(content)}")
    if records and not any(isinstance(record, dict) and "caption" in record for record in records):
        raise UserError(f"{path}: expected a COCO captions file, but got {kind_of(content)}: no record has a 'caption'")
    return {"images": content["images"], "annotations": records}


def read_captions(path: Path, content: dict[str, list[Any]], images: KnownImages, on_error: str) -> dict[int, Any]:
    """Lists of sentences by image id, in the order of the file.

    Raises UserError for all faults at once; with `on_error="skip"` they are counted and left out.
    """
    check_policy(on_error)
    faults, found, seen = Faults(path), dict[int, list[str]](), set[Any]()
    for index, record in enumerate(content["annotations"]):
        try:
            text = _text(record, seen)
            if images.knows(record["image_id"], faults):
                found.setdefault(record["image_id"], []).append(text)
        except RecordError as error:
            faults.add(error.args[0], place_of("annotations", index, record), error.args[1])
    faults.settle(on_error)
    return found


def _text(record: Any, seen: set[Any]) -> str:
    if not isinstance(record, dict):
        raise RecordError("malformed record", f"expected an object, but got {record!r}")
    if "image_id" not in record or "caption" not in record:
        raise RecordError("missing field", "has no image_id or no caption")
    text, identity = record["caption"], record.get("id")
    if not isinstance(text, str) or not text.strip():
        raise RecordError("no caption", f"caption is {text!r}, expected a text")
    if identity is not None:
        if not is_whole(identity) or identity in seen:
            raise RecordError("duplicate annotation id", f"id {identity!r} occurs twice or is no whole number")
        seen.add(identity)
    return text


def kind_of(content: Any) -> str:
    """What a JSON file seems to be, for messages about the wrong one."""
    if isinstance(content, list):
        first = content[0] if content and isinstance(content[0], dict) else {}
        results = "question_id" in first or "score" in first or {"image_id", "caption"} <= first.keys()
        return "a list of results (predictions, not truth)" if results else "a JSON list"
    if not isinstance(content, dict):
        return f"a JSON {type(content).__name__}"
    if isinstance(content.get("questions"), list):
        return "the questions of VQA v2"
    records = content.get("annotations")
    first = records[0] if isinstance(records, list) and records and isinstance(records[0], dict) else {}
    for key, kind in KINDS.items():
        if key in first:
            return kind
    return f"an object with the keys {', '.join(map(str, list(content)[:10])) or 'none'}"


KINDS = {  # a field of the first annotation, and what has it
    "tokens_positive": "grounded captions in MDETR's layout",
    "answers": "the answers (annotations) of VQA v2",
    "caption": "COCO captions",
    "bbox": "COCO instances",
}
