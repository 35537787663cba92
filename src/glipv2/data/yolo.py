"""YOLO folders: data.yaml with names and splits, and beside images/ a folder labels/ with a text file an image.

0 0.5 0.5 0.25 0.5                    class, centre and sides of a box, in parts of the picture's width and height
0 0.4 0.3 0.6 0.3 0.6 0.7             class, the points x y of a polygon
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from glipv2.data.coco import CocoDataset
from glipv2.data.faults import PLACE, Faults, RecordError, is_listed, is_whole, read_lines
from glipv2.data.image_ids import ids_of
from glipv2.data.images import SUFFIXES, image_size
from glipv2.errors import UserError, nearest

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
MOST = 2.0  # parts of a side; a label beyond is in pixels


class YoloDataset(CocoDataset):
    """Images and boxes of a split of a data.yaml; the class numbers are the category ids.

    A split is a folder (searched through), several, or a .txt with an image a line; paths are relative to `path` of
    the file, else to the file, and a leading "../" that leads nowhere is dropped (Roboflow writes it). The labels
    of an image are where "images" in its path is "labels"; with an entry `labels` of the file, below that folder.
    An image without a label file has no object; such images are counted in a log line. A box of a polygon is its
    outermost points; with masks every label must be a polygon. An image's size is that of its picture's header.
    Ids of images as in `OdvgDetection`; faults as in `CocoDataset`, by file and line.
    """

    def __init__(
        self, description: Path | str, split: str, *, with_masks: bool = False, on_error: str = "raise"
    ) -> None:
        self._content_of = read_description(Path(description))
        folder, self._files = _images_of(Path(description), self._content_of, split)
        super().__init__(description, folder, with_masks=with_masks, on_error=on_error)
        del self._content_of, self._files

    def _content(self, faults: Faults) -> dict[str, list[Any]]:
        names = _names(self._content_of, self.path)
        labels = self._content_of.get("labels")
        label_root = _base(self.path, self._content_of) / labels if isinstance(labels, str) else None
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        listings: dict[str, frozenset[str]] = {}
        plain = [os.path.relpath(path, self.folder) for path in self._files]
        lacking = 0
        for path, name, number in zip(self._files, plain, ids_of(plain), strict=True):
            try:
                height, width = image_size(path)
            except UserError as error:
                faults.add("unreadable image", name, str(error))
                continue
            images.append({PLACE: name, "id": number, "file_name": name, "height": height, "width": width})
            source = _labels_of(path, label_root)
            if not is_listed(str(source), listings):
                lacking += 1
                continue
            for line, text in read_lines(source, "labels"):
                own = f"{source} line {line}"
                try:
                    annotations.append({PLACE: own, "image_id": number, **_record(text, names, height, width)})
                except RecordError as error:
                    faults.add(error.args[0], own, error.args[1])
        if lacking == len(images) and images:
            example = _labels_of(self._files[0], label_root)
            raise UserError(f"{self.path}: none of {len(images)} images has a label file, first {example}; check paths")
        if lacking:
            logger.info("%s: %d of %d images have no label file: no object", self.path, lacking, len(images))
        categories = [{"id": number, "name": name} for number, name in names.items()]
        return {"images": images, "annotations": annotations, "categories": categories}


def read_description(path: Path) -> Mapping[str, Any]:
    """A data.yaml; UserError where it is not one, or describes key points."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; expected a data.yaml with names and splits") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:  # ValueError: a date that is none
        raise UserError(f"{path} can't be read as YAML: {' '.join(str(error).split())[:160]}") from None
    if not isinstance(content, dict) or "names" not in content:
        raise UserError(f"{path}: expected an entry 'names' and splits as 'train', as in a YOLO data.yaml")
    if "kpt_shape" in content:
        raise UserError(f"{path}: describes key points (kpt_shape), whose labels look like polygons; give boxes")
    return content


def yolo_splits(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that the file has; `valid` is val."""
    return tuple(split for split in SPLITS if _entry(content, split))


def _entry(content: Mapping[str, Any], split: str) -> Any:
    return content.get(split) or (content.get("valid") if split == "val" else None)


def _names(content: Mapping[str, Any], path: Path) -> dict[int, str]:
    """Names by class number."""
    given = content["names"]
    rows = list(given.items()) if isinstance(given, dict) else list(enumerate(given)) if isinstance(given, list) else []
    names = {number: str(name) for number, name in rows if is_whole(number) and isinstance(name, str | int)}
    if not rows or len(names) != len(rows):
        raise UserError(f"{path}: names is {str(given)[:80]}, expected a list, or names by class number")
    count = content.get("nc")
    if count is not None and count != len(names):
        raise UserError(f"{path}: nc is {count}, but there are {len(names)} names; mend one of them")
    return names


def _base(path: Path, content: Mapping[str, Any]) -> Path:
    """What the paths of the file are relative to."""
    given = content.get("path")
    own = path.parent / Path(given).expanduser() if isinstance(given, str) else path.parent
    return own if own.is_dir() else path.parent


def _images_of(path: Path, content: Mapping[str, Any], split: str) -> tuple[Path, list[Path]]:
    """The folder of a split, or the innermost that holds all of it, and its images, sorted, or as listed."""
    entry = _entry(content, split)
    if not entry:
        raise UserError(f"{path}: no split '{split}'; {nearest(split, yolo_splits(content) or SPLITS)}")
    places = entry if isinstance(entry, list) else [entry]
    base = _base(path, content)
    there = [_place(base, str(place), path) for place in places]
    found = [image for place in there for image in _listed(place, path)]
    if not found:
        raise UserError(f"{path}: no image in {entry}; looked for {' '.join(sorted(SUFFIXES))}")
    folder = there[0] if len(there) == 1 and there[0].is_dir() else os.path.commonpath([own.parent for own in found])
    return Path(folder), list(dict.fromkeys(found))


def _place(base: Path, name: str, path: Path) -> Path:
    """The folder or list that the file names."""
    parts = PurePath(name).parts
    while True:
        place = Path(os.path.normpath(base.joinpath(*parts)))
        if place.exists():
            return place
        if parts[:1] != ("..",):
            raise UserError(f"{path}: {name} is not in {base}; mend the path, or 'path' above it")
        parts = parts[1:]


def _listed(place: Path, path: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from sorted(own for own in place.rglob("*") if own.suffix.lower() in SUFFIXES and own.is_file())
    elif place.suffix == ".txt":
        for _, line in read_lines(place, "the path of an image a line"):
            yield Path(os.path.normpath(place.parent / line.strip()))
    else:
        raise UserError(f"{path}: {place} is neither a folder nor a .txt list of images")


def _labels_of(image: Path, root: Path | None) -> Path:
    """Where the last folder "images" of its path is "labels"; below the root, what follows it."""
    parts = image.with_suffix(".txt").parts
    places = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if root is not None:
        return root.joinpath(*parts[places[-1] + 1 :] if places else parts[-1:])
    if not places:
        return image.with_suffix(".txt")
    return Path(*parts[: places[-1]], "labels", *parts[places[-1] + 1 :])


def _record(text: str, names: Mapping[int, str], height: int, width: int) -> dict[str, Any]:
    """A COCO record of a line; RecordError where it is none."""
    words = text.split()
    try:
        number, values = _whole(words[0]), [float(word) for word in words[1:]]
    except (ValueError, OverflowError):
        raise RecordError("malformed label", f"is '{text.strip()[:80]}', expected a class number and numbers") from None
    if number not in names:
        known = f"{min(names)} to {max(names)}"
        raise RecordError("unknown category", f"class {number} is not among the names ({known})")
    if not all(map(math.isfinite, values)):
        raise RecordError("box not finite", f"is '{text.strip()[:80]}', expected finite numbers")
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        what = "4 for a box, or pairs for 3 points or more"
        hint = " (predictions with a score?)" if len(values) == 5 else ""
        raise RecordError("malformed label", f"has {len(values)} numbers after the class{hint}, expected {what}")
    if max(values) > MOST:
        detail = f"has {max(values):g}, expected parts of the picture's sides, from 0 to 1 (not pixels)"
        raise RecordError("box not in parts of the picture", detail)
    if len(values) == 4:
        return {"category_id": number, "bbox": box_of(values, height, width)}
    points = [value * side for value, side in zip(values, (width, height) * (len(values) // 2), strict=True)]
    columns, rows = points[::2], points[1::2]
    bbox = [min(columns), min(rows), max(columns) - min(columns), max(rows) - min(rows)]
    return {"category_id": number, "bbox": bbox, "segmentation": [points]}


def _whole(word: str) -> int:
    """Some tools write the class as 3.0."""
    value = float(word)
    if value != int(value):
        raise ValueError(word)
    return int(value)


def box_of(values: list[float], height: int, width: int) -> list[float]:
    """COCO's left, top, width and height in pixels of centre and sides in parts."""
    x, y, w, h = values
    return [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
