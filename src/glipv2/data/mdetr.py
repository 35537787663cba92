"""Grounded captions in MDETR's layout (GoldG, Flickr30k, RefCOCO): one image record a caption, boxes with spans."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glipv2.data.coco import BoxReader, Corners, ImageRecords, area_of, corners_within, read_images
from glipv2.data.faults import Faults, RecordError, check_folder, check_policy, is_whole, place_of, read_json
from glipv2.data.packed import PackedRows, packed
from glipv2.data.truths import DescribedImages, described
from glipv2.errors import UserError
from glipv2.structures import Caption, GroundedPhrase, ImageTruth, Instances, Span, Vocabulary

logger = logging.getLogger(__name__)

OBJECT = Vocabulary(("object",))  # boxes of captions have words, not classes


@dataclass(frozen=True)
class GroundedBox:
    """A box of one caption, the characters that name it, and whether it covers several objects."""

    corners: Corners
    spans: tuple[Span, ...]
    is_crowd: bool
    area: float


class NamedInWords(DescribedImages):
    """Images whose boxes belong to words of a text, not to classes."""

    @property
    def vocabulary(self) -> Vocabulary:
        """One class."""
        return OBJECT

    @property
    def scored_names(self) -> tuple[str, ...]:
        """That class."""
        return OBJECT.names

    @property
    def answers(self) -> tuple[str, ...]:
        """Texts of this kind ask nothing."""
        return ()


class MdetrDataset(NamedInWords):
    """Images with their captions; a phrase has the boxes that any of its characters' spans name.

    Phrases of a caption are its record's `tokens_positive_eval` where it has them, else every distinct span
    that names a box. Records of one file are one sample with several captions, in the order of the file; its
    id is `original_img_id` where the records agree on it, else that of its first record.
    Faults as in `CocoDataset`; a span outside its caption is one.
    """

    def __init__(self, annotations: Path | str, images: Path | str, *, on_error: str = "raise") -> None:
        check_policy(on_error)
        self.path, self.folder = Path(annotations), Path(images)
        check_folder(self.folder)
        faults = Faults(self.path)
        content = self._content(faults)
        records = read_images(content["images"], self.folder, faults)
        captions = _read_captions(content["images"], records, faults)
        boxes = _GroundedBoxReader(records, captions, faults)
        boxes.read(content["annotations"])
        self.skipped: dict[str, int] = faults.settle(on_error)
        sizes: dict[str, list[int]] = {}
        texts: dict[str, list[tuple[_CaptionRecord, list[GroundedBox]]]] = {}
        for identity, name, size in zip(
            records.ids.tolist(), records.names.tolist(), records.sizes.tolist(), strict=True
        ):
            if identity in captions:
                sizes[name] = size
                texts.setdefault(name, []).append((captions[identity], boxes.found[identity]))
        if not texts:
            raise UserError(f"{self.path}: no caption to read; expected at least one usable record in 'images'")
        boxes.tell_clipped()
        self._names = np.array(list(texts), np.str_)
        self._sizes = np.array(list(sizes.values()), np.int64)
        self._ids = np.array(list(_image_ids(texts).values()), np.int64)
        self._texts = PackedRows(packed([_bare(*one) for one in own]) for own in texts.values())

    def _content(self, faults: Faults) -> dict[str, list[Any]]:
        """The lists of the file; other layouts bring theirs into this form and add what is unreadable to the faults."""
        return _read_mdetr(self.path)

    @property
    def image_ids(self) -> Sequence[int]:
        """In order; see the class."""
        return self._ids.tolist()  # type: ignore[no-any-return]

    @property
    def dropped(self) -> frozenset[int | str]:
        """Not known: of an image some captions may be faulty and others not."""
        return frozenset()

    def __len__(self) -> int:
        return len(self._names)

    def truth(self, index: int) -> ImageTruth:
        """See `DescribedImages`."""
        index = range(len(self))[index]
        boxes: list[GroundedBox] = []
        captions = []
        for text, phrases, rows in self._texts[index]:
            own = [GroundedBox(*row) for row in rows]
            captions.append(Caption(text, _phrases(phrases, own, len(boxes))))
            boxes += own
        name = str(self._names[index])
        height, width = self._sizes[index].tolist()
        return described(int(self._ids[index]), name, (height, width), instances_of(boxes), tuple(captions))

    def described_by(self, index: int) -> Path:
        """The one file."""
        return self.path


def instances_of(boxes: Sequence[GroundedBox]) -> Instances:
    """Boxes of captions as instances of the one class."""
    return Instances(
        boxes=torch.tensor([box.corners for box in boxes], dtype=torch.float32).reshape(-1, 4),
        labels=torch.zeros(len(boxes), dtype=torch.int64),
        is_crowd=torch.tensor([box.is_crowd for box in boxes], dtype=torch.bool),
        areas=torch.tensor([box.area for box in boxes], dtype=torch.float32),
    )


@dataclass(frozen=True)
class _CaptionRecord:
    """A caption, its phrases where the file says them, and the id of its image."""

    text: str
    phrases: tuple[tuple[Span, ...], ...] | None
    image_id: int | None


def _read_mdetr(path: Path) -> dict[str, list[Any]]:
    content = read_json(path, "a grounding file in MDETR's layout")
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object with images and annotations, but got {type(content).__name__}")
    for key in ("images", "annotations"):
        if not isinstance(content.get(key), list):
            raise UserError(f"{path}: '{key}' is missing or no list (keys: {', '.join(map(str, content)) or 'none'})")
    if not any(isinstance(record, dict) and "caption" in record for record in content["images"]):
        raise UserError(f"{path}: no image has a 'caption'; expected grounded captions in MDETR's layout")
    return content


def _read_captions(records: Sequence[Any], kept: ImageRecords, faults: Faults) -> dict[int, _CaptionRecord]:
    """Captions by the id of their image record."""
    usable = set(kept.ids.tolist())
    found: dict[int, _CaptionRecord] = {}
    for index, record in enumerate(records):
        identity = record.get("id") if isinstance(record, dict) else None
        if not is_whole(identity) or identity not in usable:
            continue
        try:
            found[identity] = _caption(record)
        except RecordError as error:
            faults.add(error.args[0], place_of("images", index, record), error.args[1])
    return found


def _caption(record: Mapping[str, Any]) -> _CaptionRecord:
    text = record.get("caption")
    if not isinstance(text, str) or not text.strip():
        raise RecordError("no caption", f"caption is {text!r}, expected a text")
    given = record.get("tokens_positive_eval")
    if given is not None and not isinstance(given, list):
        raise RecordError("malformed span", f"tokens_positive_eval is {given!r}, expected a list of phrases")
    phrases = tuple(spans_in(phrase, text, "tokens_positive_eval") for phrase in given) if given else None
    original = record.get("original_img_id")
    return _CaptionRecord(text, phrases, original if is_whole(original) and abs(original) < 2**63 else None)


def spans_in(spans: Any, text: str, field: str) -> tuple[Span, ...]:
    """[[begin, end], ...] as spans of the text; RecordError where they are not."""
    pairs = isinstance(spans, list) and all(isinstance(span, list) and len(span) == 2 for span in spans)
    if not pairs or not spans or any(not isinstance(end, int) for span in spans for end in span):
        raise RecordError("malformed span", f"{field} is {spans!r}, expected [[begin, end], ...]")
    for begin, end in spans:
        if not 0 <= begin < end <= len(text):
            detail = f"{field} has the span [{begin}, {end}], but the caption has {len(text)} characters"
            raise RecordError("span outside the caption", detail)
    return tuple((begin, end) for begin, end in spans)


class _GroundedBoxReader(BoxReader):
    """Turns annotation records into boxes by image record."""

    def __init__(self, images: ImageRecords, captions: Mapping[int, _CaptionRecord], faults: Faults) -> None:
        super().__init__(faults)
        self.sizes = dict(zip(images.ids.tolist(), images.sizes.tolist(), strict=True))
        self.dropped = images.dropped | (self.sizes.keys() - captions.keys())
        self.captions = captions
        self.found: dict[int, list[GroundedBox]] = {identity: [] for identity in captions}

    def _take(self, record: Any) -> None:
        if not isinstance(record, dict):
            raise RecordError("malformed record", f"expected an object, but got {record!r}")
        spans = record.get("tokens_positive", record.get("tokens"))
        if spans is None or "image_id" not in record or "bbox" not in record:
            raise RecordError("missing field", "has no image_id, no bbox or no tokens_positive")
        if record.get("id") is not None and record["id"] in self.seen:
            raise RecordError("duplicate annotation id", f"id {record['id']} occurs twice, expected each once")
        image_id = record["image_id"]
        if image_id in self.dropped:
            self.faults.orphans += 1
            return
        if image_id not in self.captions:
            raise RecordError("unknown image", f"image_id {image_id!r} is not among the ids in 'images'")
        corners, cut = corners_within(record["bbox"], *self.sizes[image_id])
        own = spans_in(spans, self.captions[image_id].text, "tokens_positive")
        area = area_of(record.get("area") or None, corners)
        self.found[image_id].append(GroundedBox(corners, own, bool(record.get("iscrowd")), area))
        self.clipped += cut
        self.seen.add(record.get("id"))


def _bare(record: _CaptionRecord, boxes: Sequence[GroundedBox]) -> tuple[Any, ...]:
    """A caption with its boxes as plain values; a million of them as objects would fill the memory."""
    return record.text, record.phrases, [(box.corners, box.spans, box.is_crowd, box.area) for box in boxes]


def _phrases(
    spans: tuple[tuple[Span, ...], ...] | None, boxes: Sequence[GroundedBox], first: int
) -> tuple[GroundedPhrase, ...]:
    """Phrases that have a box; `first` is the place of the first box among the sample's instances."""
    if spans is None:
        spans = tuple((span,) for span in sorted({span for box in boxes for span in box.spans}))
    phrases = (
        GroundedPhrase(
            own, tuple(first + place for place, box in enumerate(boxes) if not set(own).isdisjoint(box.spans))
        )
        for own in spans
    )
    return tuple(phrase for phrase in phrases if phrase.instances)


def _image_ids(texts: Mapping[str, Sequence[tuple[_CaptionRecord, Any]]]) -> dict[str, int]:
    """An id for each file: the data set's own where it is one's alone, else numbers from 1."""
    given = {name: {record.image_id for record, _ in own} for name, own in texts.items()}
    ids = {name: next(iter(own)) for name, own in given.items() if len(own) == 1}
    own_ids = [identity for identity in ids.values() if identity is not None]
    if len(set(own_ids)) == len(texts):
        return {name: int(identity) for name, identity in ids.items() if identity is not None}
    return {name: number for number, name in enumerate(texts, start=1)}
