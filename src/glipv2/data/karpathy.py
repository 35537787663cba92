"""Karpathy's splits of COCO, Flickr30k and Flickr8k captions: one JSON with every image, its split and its sentences.

{"dataset": "coco", "images": [{"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "cocoid": 391895,
 "split": "test", "sentences": [{"raw": "A man rides a bike."}]}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glipv2.data.faults import (
    Faults,
    RecordError,
    check_folder,
    check_policy,
    first_there,
    is_listed,
    is_whole,
    read_json,
)
from glipv2.data.joined import ImageFiles, JoinedDataset
from glipv2.errors import UserError

IDS = ("cocoid", "imgid")
SPLITS = {"restval": "train"}  # what of COCO's val2014 is neither val nor test is trained on, as everybody does


def is_karpathy(content: Any) -> bool:
    """Whether a JSON value has this layout."""
    images = content.get("images") if isinstance(content, dict) else None
    first = next((one for one in images if isinstance(one, dict)), {}) if isinstance(images, list) else {}
    return "sentences" in first and "split" in first


def karpathy_splits(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Its splits, `restval` being part of "train"."""
    given = dict.fromkeys(_split(one) for one in content["images"] if isinstance(one, dict))
    return tuple(own for own in given if own)


def file_names(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Where an image may lie below its folder, best first."""
    inner, name = record.get("filepath"), str(record["filename"])
    return (f"{inner}/{name}", name) if isinstance(inner, str) and inner else (name,)


class KarpathyCaptions(JoinedDataset):
    """The images of a split with their sentences. An image's id is its `cocoid`, else its `imgid`.

    Raises UserError for all faults of the split at once; with `on_error="skip"` they are counted and left out.
    """

    def __init__(self, path: Path, images: Path, split: str, *, on_error: str = "raise") -> None:
        check_policy(on_error)
        check_folder(images)
        content = read_json(path, "Karpathy's splits")
        if not is_karpathy(content):
            raise UserError(f"{path}: expected images with 'split' and 'sentences', as in Karpathy's dataset_coco.json")
        faults, listings = Faults(path), dict[str, frozenset[str]]()
        names, captions = dict[int, str](), dict[int, list[str]]()
        for index, record in enumerate(content["images"]):
            place = f"images[{index}]"
            try:
                if not isinstance(record, dict):
                    raise RecordError("malformed record", f"expected an object, but got {record!r}")
                if _split(record) != split:
                    continue
                identity, name, texts = _fields(record, names, images, listings)
            except RecordError as error:
                faults.add(error.args[0], place, error.args[1])
                continue
            names[identity], captions[identity] = name, texts
        faults.settle(on_error)
        if not names:
            raise UserError(
                f"{path}: split '{split}' has no image to read; it has {', '.join(karpathy_splits(content))}"
            )
        super().__init__(ImageFiles.named(images, names, path), captions=captions, where=f"{path.name} {split}")


def _split(record: Mapping[str, Any]) -> str:
    own = record.get("split")
    return SPLITS.get(own, own) if isinstance(own, str) else ""


def _fields(
    record: Mapping[str, Any], known: Mapping[int, str], folder: Path, listings: dict[str, frozenset[str]]
) -> tuple[int, str, list[str]]:
    """(id, file name, sentences)."""
    identity = next((record[key] for key in IDS if key in record), None)
    if not is_whole(identity) or abs(identity) >= 2**63:
        raise RecordError("malformed image id", f"expected a whole number as cocoid or imgid, but got {identity!r}")
    if identity in known:
        raise RecordError("duplicate image id", f"id {identity} occurs twice, expected one record an image")
    if not isinstance(record.get("filename"), str) or not record["filename"]:
        raise RecordError("malformed file name", f"expected a file name, but got {record.get('filename')!r}")
    name = first_there(file_names(record), folder, listings) or ""
    if not is_listed(str(folder / name), listings):
        raise RecordError("missing image file", f"image file '{name}' is missing from {folder}")
    sentences: Any = record.get("sentences")
    texts = [one.get("raw") if isinstance(one, dict) else None for one in sentences] if _is_list(sentences) else []
    if not texts or any(not isinstance(text, str) or not text.strip() for text in texts):
        raise RecordError("no caption", f"sentences are {str(sentences)[:80]}, expected texts under 'raw'")
    return identity, name, [str(text).strip() for text in texts]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
