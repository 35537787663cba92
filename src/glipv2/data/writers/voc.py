"""Pascal VOC: Annotations/NAME.xml, ImageSets/Main/SPLIT.txt, JPEGImages with links, labelmap.txt with all names."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import PurePosixPath

from glipv2.data.voc import LABEL_MAP, SIDES
from glipv2.data.writers.numbers import plain, same, shortest
from glipv2.data.writers.parts import MOVED, Written
from glipv2.errors import UserError
from glipv2.structures import ImageTruth, Vocabulary


def write_voc(written: Written) -> None:
    """Crowds become `difficult`. Corners count from 1, with fractions where the boxes have them."""
    written.check_names("Annotations", ".xml", "Pascal VOC")
    _write_names(written)
    stems = []
    for truth in written.truths():
        stem = str(PurePosixPath(truth.name).with_suffix(""))
        written.add_picture(truth.name, "JPEGImages")
        written.write(f"Annotations/{stem}.xml", [_xml(truth, written.samples.vocabulary)])
        written.lose_areas_and_masks(truth)
        written.lost[MOVED] += sum(not all(map(_is_kept, corners[:2])) for corners in truth.boxes.tolist())
        stems.append(stem)
    written.write(f"ImageSets/Main/{written.split}.txt", (f"{stem}\n" for stem in stems))
    written.lose_image_ids()
    written.lose_category_ids(1)


def _write_names(written: Written) -> None:
    names = written.samples.vocabulary.names
    wrong = [name for name in names if ":" in name or name.startswith("#") or name == "background" or "\n" in name]
    if wrong:
        raise UserError(
            f"{LABEL_MAP} can't hold the name '{wrong[0]}' (no ':', no '#' first, not background); rename it"
        )
    path = written.out / LABEL_MAP
    text = "# label:color_rgb:parts:actions\n" + "".join(f"{name}:::\n" for name in names)
    if path.is_file() and path.read_text("utf-8") != text:
        raise UserError(
            "the splits have different categories, but a Pascal VOC folder has one list; convert each alone"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _xml(truth: ImageTruth, vocabulary: Vocabulary) -> str:
    height, width = truth.image_size
    root = ET.Element("annotation")
    _add(root, "filename", truth.name)
    size = ET.SubElement(root, "size")
    for name, value in (("width", width), ("height", height), ("depth", 3)):
        _add(size, name, value)
    rows = zip(truth.boxes.tolist(), truth.labels.tolist(), truth.is_crowd.tolist(), strict=True)
    for corners, label, is_crowd in rows:
        item = ET.SubElement(root, "object")
        _add(item, "name", vocabulary.names[label])
        _add(item, "difficult", int(is_crowd))
        box = ET.SubElement(item, "bndbox")
        for side, corner in zip(SIDES, _one_based(corners), strict=True):
            _add(box, side, corner)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _one_based(corners: list[float]) -> list[float]:
    """Corners of the first and the last pixel, both in the box: right and bottom are the same numbers either way."""
    return [*map(_after, corners[:2]), *map(plain, corners[2:])]


def _after(value: float) -> float:
    """One more, so that one less is the same 32-bit value."""
    return shortest(value + 1, lambda written: same(written - 1, value))


def _is_kept(value: float) -> bool:
    """Whether one more and one less gives the value back: not below about 1e-9 pixels of the border."""
    return same(_after(value) - 1, value)


def _add(parent: ET.Element, name: str, value: object) -> None:
    ET.SubElement(parent, name).text = str(value)
