"""Flickr30k Entities in its official layout: Sentences/ID.txt, Annotations/ID.xml and SPLIT.txt with the ids."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glipv2.data.coco import Corners
from glipv2.data.faults import Faults, RecordError, check_folder, check_policy, is_listed
from glipv2.data.mdetr import GroundedBox, NamedInWords, instances_of
from glipv2.data.truths import described
from glipv2.data.voc import read_xml
from glipv2.errors import UserError, nearest
from glipv2.structures import Caption, GroundedPhrase, ImageTruth

MARKUP = re.compile(r"\[/EN#(\d+)((?:/[^\s/\]]+)*) ([^\]]*)\]")
NOT_VISUAL = "0"  # the chain of phrases that nothing in a picture shows


class Flickr30kDataset(NamedInWords):
    """The images of a split with their five sentences; phrases are those whose chain has a box, with its types.

    Boxes are those of the official reader: one less than the file's corners, which count from 1.
    A record is one image: with a sentence or an XML file that can't be read it is a fault, as is a missing
    photograph. on_error as in `CocoDataset`.
    """

    def __init__(self, root: Path | str, images: Path | str, split: str, *, on_error: str = "raise") -> None:
        check_policy(on_error)
        self.root, self.folder = Path(root), Path(images)
        check_folder(self.folder)
        ids = _split_ids(self.root, split)
        faults = Faults(self.root)
        listings: dict[str, frozenset[str]] = {}
        self._records: list[_Record] = []
        for identity in ids:
            try:
                record = _read_record(self.root, identity)
                if not is_listed(os.path.join(self.folder, record.file_name), listings):
                    raise RecordError("missing image file", f"{record.file_name} is missing from {self.folder}")
                self._records.append(record)
            except RecordError as error:
                faults.add(error.args[0], f"image {identity}", error.args[1])
        self.skipped: dict[str, int] = faults.settle(on_error)
        if not self._records:
            raise UserError(f"{self.root}: no image of the split '{split}' to read")

    def __len__(self) -> int:
        return len(self._records)

    def truth(self, index: int) -> ImageTruth:
        """See `DescribedImages`."""
        record = self._records[index]
        boxes = [GroundedBox(box, (), False, (box[2] - box[0]) * (box[3] - box[1])) for box in record.boxes]
        return described(record.image_id, record.file_name, record.image_size, instances_of(boxes), record.captions)

    def described_by(self, index: int) -> Path:
        """The image's XML file."""
        return self.root / f"Annotations/{self._records[index].image_id}.xml"


@dataclass(frozen=True)
class _Record:
    image_id: int
    file_name: str
    image_size: tuple[int, int]
    boxes: tuple[Corners, ...]
    captions: tuple[Caption, ...]


def _split_ids(root: Path, split: str) -> list[str]:
    path = root / f"{split}.txt"
    if not path.is_file():
        splits = sorted(found.stem for found in root.glob("*.txt"))
        hint = nearest(split, splits) if splits else "expected Annotations/, Sentences/ and lists as test.txt there"
        raise UserError(f"{path} does not exist; {hint}")
    try:
        ids = path.read_text("utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read ({error}); expected an image id a line, in UTF-8") from None
    twice = {identity for identity in ids if ids.count(identity) > 1} if len(set(ids)) < len(ids) else set()
    if twice:
        raise UserError(f"{path}: image {min(twice)} occurs twice; expected each once")
    if not ids:
        raise UserError(f"{path} is empty; expected an image id a line")
    return ids


def _read_record(root: Path, identity: str) -> _Record:
    if not identity.isdigit():
        raise RecordError("malformed image id", f"expected a number, but got '{identity}'")
    tree = read_xml(root / "Annotations" / f"{identity}.xml")
    size = tuple(_whole(tree, f"size/{side}") for side in ("height", "width"))
    if min(size) <= 0:
        raise RecordError("image of no size", f"expected height and width above 0, but got {size[0]} x {size[1]}")
    boxes: list[Corners] = []
    chains: dict[str, list[int]] = {}
    for item in tree.iter("object"):
        box = item.find("bndbox")
        if box is None:
            continue
        for chain in item.findall("name"):
            chains.setdefault((chain.text or "").strip(), []).append(len(boxes))
        boxes.append(_corners(box))
    name = (tree.findtext("filename") or f"{identity}.jpg").strip()
    captions = _read_sentences(root / "Sentences" / f"{identity}.txt", chains)
    return _Record(int(identity), name, (size[0], size[1]), tuple(boxes), captions)


def _whole(tree: ET.Element, name: str) -> int:
    text = tree.findtext(name)
    try:
        return int(text or "")
    except ValueError:
        raise RecordError("malformed annotation", f"{name} is {text!r}, expected a whole number") from None


def _corners(box: ET.Element) -> Corners:
    left, top, right, bottom = (_whole(box, side) - 1 for side in ("xmin", "ymin", "xmax", "ymax"))
    if right < left or bottom < top:
        raise RecordError("box without area", f"a box ends before it begins: {left}, {top}, {right}, {bottom}")
    return float(left), float(top), float(right), float(bottom)


def _read_sentences(path: Path, chains: Mapping[str, list[int]]) -> tuple[Caption, ...]:
    try:
        lines = path.read_text("utf-8-sig").split("\n")  # splitlines() also ends them at U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError("unreadable sentences", f"{path} can't be read ({error})") from None
    captions = tuple(sentence(line, chains) for line in lines if line.strip())
    if not captions:
        raise RecordError("no sentence", f"{path.name} holds no sentence")
    return captions


def sentence(line: str, chains: Mapping[str, list[int]]) -> Caption:
    """A marked-up line as its plain words; phrases are those whose chain has boxes (places among the image's).

    RecordError for markup that does not close.
    """
    text, end = "", 0
    phrases = []
    for found in MARKUP.finditer(line):
        text += line[end : found.start()]
        chain, kinds, words = found.groups()
        if chain != NOT_VISUAL and chain in chains:
            span = (len(text), len(text) + len(words))
            phrases.append(GroundedPhrase((span,), tuple(chains[chain]), tuple(filter(None, kinds.split("/")))))
        text += words
        end = found.end()
    text += line[end:]
    if "[/EN#" in text:
        raise RecordError("malformed sentence", f"markup can't be read in: {line.strip()[:80]}")
    return Caption(text.rstrip(), tuple(phrases))
