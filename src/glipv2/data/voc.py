"""Pascal VOC folders: Annotations/NAME.xml an image, ImageSets/Main/SPLIT.txt with the names, JPEGImages."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glipv2.data.coco import CocoDataset
from glipv2.data.faults import PLACE, Faults, RecordError, first_there, read_lines
from glipv2.data.image_ids import ids_of
from glipv2.data.images import image_size
from glipv2.errors import UserError, nearest

LABEL_MAP = "labelmap.txt"  # as CVAT writes it: NAME:colour:parts:actions a line
SIDES = ("xmin", "ymin", "xmax", "ymax")


class VocDataset(CocoDataset):
    """Images and boxes of a split. Corners count pixels from 1 and belong to the box: 1 to W is all of the width.

    A `difficult` object is a crowd: evaluation neither asks for it nor counts it as wrong. Names are those of
    labelmap.txt in its order where there is one, else all of the folder's XML files (of every split) in alphabetical
    order; their ids count from 1. An image is <filename> below the folder, or below its subfolder <folder>; its id is
    the number at the end of the name where all have another one, else its place from 1. Its size is that of the XML
    file, else (0, or none) that of the picture. images: default JPEGImages of the folder. Faults as in `CocoDataset`.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        images: Path | str | None = None,
        *,
        with_masks: bool = False,
        on_error: str = "raise",
    ) -> None:
        self.root, self.split = Path(root), split
        if with_masks:
            raise UserError(f"{root}: masks of Pascal VOC are not read; ask for boxes")
        super().__init__(root, self.root / "JPEGImages" if images is None else images, on_error=on_error)

    def described_by(self, index: int) -> Path:
        """The image's XML file."""
        return self.root / "Annotations" / self._xml_names[int(self._images.ids[index])]

    def _content(self, faults: Faults) -> dict[str, list[Any]]:
        names = _names_of_split(self.root, self.split)
        numbers = dict(zip(names, ids_of(names), strict=True))
        self._xml_names = {number: f"{name}.xml" for name, number in numbers.items()}
        known = _label_map(self.root / LABEL_MAP) or _every_name(self.root)
        ids = {name: number for number, name in enumerate(known, start=1)}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        listings: dict[str, frozenset[str]] = {}
        for name, number in numbers.items():
            place = f"Annotations/{name}.xml"
            try:
                tree = read_xml(self.root / place)
                record = {PLACE: place, "id": number, **self._image(tree, name, listings)}
            except (RecordError, UserError) as error:
                told = isinstance(error, RecordError)
                kind, detail = error.args if told else ("unreadable image", str(error))
                faults.add(kind, place, detail)
                continue
            images.append(record)
            for index, item in enumerate(tree.iter("object")):
                own = f"{place}: object {index + 1}"
                try:
                    annotations.append({PLACE: own, "image_id": number, **_object(item, ids)})
                except RecordError as error:
                    faults.add(error.args[0], own, error.args[1])
        categories = [{"id": number, "name": name} for name, number in ids.items()]
        return {"images": images, "annotations": annotations, "categories": categories}

    def _image(self, tree: ET.Element, name: str, listings: dict[str, frozenset[str]]) -> dict[str, Any]:
        """File name, height and width."""
        file_name = (tree.findtext("filename") or f"{name}.jpg").strip()
        inner = (tree.findtext("folder") or "").strip()
        found = first_there((file_name, f"{inner}/{file_name}"), self.folder, listings) or file_name
        height, width = (number_in(tree, f"size/{side}", 0) for side in ("height", "width"))
        if not (height and width) and (self.folder / found).is_file():
            height, width = image_size(self.folder / found)
        whole = height == int(height) and width == int(width)
        return {"file_name": found, "height": int(height) if whole else height, "width": int(width) if whole else width}


def voc_splits(root: Path) -> dict[str, Path]:
    """The lists of ImageSets/Main by split. Lists a class ("dog_train.txt") are left out."""
    lists = sorted((root / "ImageSets" / "Main").glob("*.txt"))
    return {path.stem: path for path in lists if "_" not in path.stem}


def read_xml(path: Path) -> ET.Element:
    """The tree of a file without a document type: entities could grow without bound, and none is needed."""
    try:
        content = path.read_bytes()
        plain = content.replace(b"\0", b"")  # what UTF-16 puts between these letters
        if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
            raise RecordError("unreadable annotation", f"{path.name} declares a document type; expected plain XML")
        return ET.fromstring(content)  # in the encoding that it declares
    except FileNotFoundError:
        raise RecordError("unreadable annotation", f"{path} does not exist") from None
    except (OSError, ValueError, LookupError, ET.ParseError, RecursionError) as error:  # LookupError: of an encoding
        raise RecordError("unreadable annotation", f"{path} can't be read ({error})") from None


def number_in(tree: ET.Element, name: str, default: float | None = None) -> float:
    """The number in a child; some tools write "12.5". RecordError where there is none, or one that is not finite."""
    text = tree.findtext(name)
    if default is not None and not (text or "").strip():
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RecordError("malformed annotation", f"{name} is {text!r}, expected a number")
    return value


def _object(item: ET.Element, ids: dict[str, int]) -> dict[str, Any]:
    """A COCO record."""
    name = (item.findtext("name") or "").strip()
    if name not in ids:
        raise RecordError("unknown category", f"name is '{name}'; {nearest(name, ids)}")
    box = item.find("bndbox")
    if box is None:
        raise RecordError("missing field", "has no bndbox")
    left, top, right, bottom = (number_in(box, side) for side in SIDES)
    bbox = [left - 1, top - 1, right - (left - 1), bottom - (top - 1)]
    return {"category_id": ids[name], "bbox": bbox, "iscrowd": int(number_in(item, "difficult", 0) != 0)}


def _names_of_split(root: Path, split: str) -> list[str]:
    lists = voc_splits(root)
    if split not in lists:
        where = root / "ImageSets" / "Main"
        hint = nearest(split, lists) if lists else f"expected lists as {where / 'train.txt'}"
        raise UserError(f"{root}: no list of the split '{split}' in {where}; {hint}")
    names = [listed_name(root, line.strip()) for _, line in read_lines(lists[split], "the name of an image a line")]
    twice = len(names) - len(set(names))
    if not names or twice:
        what = f"names {twice} images twice, expected each once" if twice else "is empty, expected a name a line"
        raise UserError(f"{lists[split]} {what}")
    return names


def listed_name(root: Path, line: str) -> str:
    """The image that a line of a list names: without the flag of a class behind it, unless that belongs to the name."""
    bare = re.sub(r"\s+-?[01]$", "", line)
    return line if bare != line and (root / "Annotations" / f"{line}.xml").is_file() else bare


def _label_map(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = [line.strip() for _, line in read_lines(path, "NAME:colour:parts:actions lines")]
    names = [line.split(":")[0].strip() for line in lines if not line.startswith("#")]
    return [name for name in dict.fromkeys(names) if name and name != "background"]


def _every_name(root: Path) -> list[str]:
    """Of the objects of all XML files; what can't be read is told by the split that needs it."""
    found = {name for path in (root / "Annotations").rglob("*.xml") for name in _names_in(path)}
    if not found:
        raise UserError(f"{root / 'Annotations'}: no XML file names an object; expected <object><name>…</name>")
    return sorted(found)


def _names_in(path: Path) -> Iterator[str]:
    try:
        tree = read_xml(path)
    except RecordError:
        return
    for item in tree.iter("object"):
        if name := (item.findtext("name") or "").strip():
            yield name
