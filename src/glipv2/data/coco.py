"""COCO instances files, checked when they are opened: one JSON of images, annotations and categories."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from faster_coco_eval.core import mask as coco_mask
from torch import Tensor

from glipv2.data.faults import (
    Faults,
    RecordError,
    check_folder,
    check_policy,
    is_listed,
    is_whole,
    place_of,
    read_json,
)
from glipv2.data.packed import PackedRows, packed
from glipv2.data.truths import DescribedImages, described
from glipv2.errors import UserError, undefined
from glipv2.structures import ImageTruth, Instances, Vocabulary

logger = logging.getLogger(__name__)

MIN_SIDE = 0.01  # pixels; a thinner box is a line, and vanishes in float32 on a large image
MAX_SIDE = 2**31  # pixels of an image; what claims more is no size
MAX_AREA = 1e30  # square pixels; the square root of what float32 holds
ROUNDING = 1.0  # pixels a box may pass the border by, as annotation tools round, before it is reported
Corners = tuple[float, float, float, float]


class CocoDataset(DescribedImages):
    """Images and instances of a COCO file; masks only where asked for. Images without a box are kept (negatives).

    The record's width and height say in which frame its boxes are. An upright image of that size is given
    upright, as browsers show it and most annotation tools with them; where only the stored pixels have that
    size (COCO's own tools ignore EXIF) they are given as stored; anything else is refused when it is read.
    Boxes that reach past the border are cut to it, and counted in a log line.

    Raises UserError, naming the file, the number of faults and the place of the first, when opened.
    `on_error="skip"` leaves faulty images and annotations out and counts them by kind in `skipped`; faults
    of the file itself (not JSON, no categories) always raise. No image is decoded before it is asked for.
    `categories`, as in the file, replaces its own.
    """

    def __init__(
        self,
        annotations: Path | str,
        images: Path | str,
        *,
        with_masks: bool = False,
        on_error: str = "raise",
        categories: Sequence[Any] | None = None,
    ) -> None:
        check_policy(on_error)
        self.path, self.folder = Path(annotations), Path(images)
        check_folder(self.folder)
        faults = Faults(self.path)
        content = self._content(faults)
        self.vocabulary = _vocabulary(content["categories"] if categories is None else categories, self.path)
        self._images = read_images(content["images"], self.folder, faults)
        reader = _AnnotationReader(self._images, self.vocabulary, with_masks, faults)
        reader.read(content["annotations"])
        self.skipped: dict[str, int] = faults.settle(on_error)
        if not len(self):
            raise UserError(f"{self.path}: no image to read; expected at least one usable record in 'images'")
        reader.tell_clipped()
        self._offsets, self._columns, self._packed = reader.rows()

    def _content(self, faults: Faults) -> dict[str, list[Any]]:
        """The lists of the file; other layouts bring theirs into this form and add what is unreadable to the faults."""
        return read_coco(self.path)

    @property
    def scored_names(self) -> tuple[str, ...]:
        """The names to evaluate: all of them."""
        return self.vocabulary.names

    @property
    def answers(self) -> tuple[str, ...]:
        """An instances file asks no questions."""
        return ()

    @property
    def image_ids(self) -> Sequence[int]:
        """The file's, in order."""
        return self._images.ids.tolist()  # type: ignore[no-any-return]

    @property
    def dropped(self) -> frozenset[int | str]:
        """Ids of images that were left out as faulty."""
        return self._images.dropped

    def __len__(self) -> int:
        return len(self._images.names)

    def truth(self, index: int) -> ImageTruth:
        """See `DescribedImages`."""
        index = range(len(self))[index]
        own = slice(*self._offsets[index : index + 2].tolist())
        masks = None if self._packed is None else self._masks(self._packed, own, index)
        boxes, labels, is_crowd, areas = (torch.tensor(column[own]) for column in self._columns)
        instances = Instances(boxes, labels, is_crowd, areas, masks)
        name = str(self._images.names[index])
        height, width = self._images.sizes[index].tolist()
        return described(int(self._images.ids[index]), name, (height, width), instances)

    def name_of(self, index: int) -> str:
        """See `DescribedImages`; no mask is decoded."""
        return str(self._images.names[index])

    def described_by(self, index: int) -> Path:
        """The one file."""
        return self.path

    def _masks(self, masks: PackedRows, own: slice, index: int) -> Tensor:
        height, width = self._images.sizes[index].tolist()
        decoded = torch.zeros(own.stop - own.start, height, width, dtype=torch.bool)
        try:
            for place, row in enumerate(range(own.start, own.stop)):
                decoded[place] = torch.from_numpy(coco_mask.decode(_run_lengths(masks[row], height, width)))
        except (RuntimeError, ValueError) as error:
            image = f"image {self._images.ids[index]} ('{self._images.names[index]}')"
            raise UserError(f"{self.path}: a mask of {image} can't be decoded ({error}); mend or remove it") from None
        return decoded


def read_coco(path: Path) -> dict[str, list[Any]]:
    """The object of a COCO file, with its three lists."""
    content = read_json(path, "a COCO instances file")
    if not isinstance(content, dict):
        results = isinstance(content, list) and content and isinstance(content[0], dict) and "score" in content[0]
        what = "a list of results (predictions, not truth)" if results else f"a JSON {type(content).__name__}"
        raise UserError(f"{path}: expected a COCO object, but got {what}; give the ground-truth file")
    wrong = [key for key in ("images", "annotations", "categories") if not isinstance(content.get(key), list)]
    if wrong:
        came = ", ".join(map(str, list(content)[:10])) or "none"
        raise UserError(f"{path}: expected COCO lists, but {', '.join(wrong)} missing or no list (keys: {came})")
    first = next(iter(content["annotations"]), None)
    if isinstance(first, dict) and "tokens_positive" in first:
        raise UserError(f"{path}: annotations[0] has tokens_positive; this is grounding data, not COCO instances")
    return content


def _vocabulary(records: Sequence[Any], path: Path) -> Vocabulary:
    """Names and ids in the order of the file. Faults always raise: without categories nothing can be kept."""
    for place, record in enumerate(records):
        name = record.get("name") if isinstance(record, dict) else None
        if not isinstance(name, str) or not is_whole(record.get("id")):
            raise UserError(f"{path}: categories[{place}] is {record}, expected a whole 'id' and a 'name'")
    try:
        return Vocabulary.of_categories([record["name"] for record in records], [record["id"] for record in records])
    except UserError as error:
        raise UserError(f"{path}: categories: {error}") from None


@dataclass(frozen=True)
class ImageRecords:
    """ids int64 [I]; sizes int64 [I, 2] (height, width); names [I]; `dropped`: ids of faulty records."""

    ids: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    names: npt.NDArray[np.str_]
    dropped: frozenset[int | str]


def read_images(records: Sequence[Any], folder: Path, faults: Faults) -> ImageRecords:
    """The usable image records, whose files are there; the others are added to the faults."""
    kept: dict[int, tuple[int, int, str]] = {}
    dropped: set[int | str] = set()
    missing: list[tuple[str, str]] = []
    listings: dict[str, frozenset[str]] = {}
    for index, record in enumerate(records):
        place = place_of("images", index, record)
        try:
            identity, height, width, name = _image_fields(record, kept)
        except RecordError as error:
            faults.add(error.args[0], place, error.args[1])
            if isinstance(record, dict) and isinstance(record.get("id"), int | str):
                dropped.add(record["id"])
            continue
        if is_listed(os.path.join(folder, name), listings):
            kept[identity] = (height, width, name)
        else:
            dropped.add(identity)
            missing.append((place, name))
    if missing:  # told once: a wrong folder would otherwise fill the report
        told = f"{len(missing)} of {len(records)} image files are missing from {folder}, first '{missing[0][1]}'"
        places = [(place, f"image file '{name}' is missing from {folder}") for place, name in missing]
        faults.add_several("missing image file", places, told)
    sizes = np.array([row[:2] for row in kept.values()], np.int64).reshape(-1, 2)
    names = np.array([row[2] for row in kept.values()], np.str_)
    return ImageRecords(np.array(list(kept), np.int64), sizes, names, frozenset(dropped))


def _image_fields(record: Any, known: Container[int]) -> tuple[int, int, int, str]:
    """(id, height, width, file name) of an image record."""
    try:
        identity, height, width, name = record["id"], record["height"], record["width"], record["file_name"]
    except KeyError as missing:
        raise RecordError("missing field", f"has no {missing}") from None
    except TypeError:
        raise RecordError("malformed record", f"expected an object, but got {record!r}") from None
    if not is_whole(identity) or abs(identity) >= 2**63:
        raise RecordError("malformed image id", f"expected a whole number as id, but got {identity!r}")
    if identity in known:
        raise RecordError("duplicate image id", f"id {identity} occurs twice, expected one record an image")
    if not isinstance(name, str) or not name:
        raise RecordError("malformed file name", f"expected a file name, but got {name!r}")
    if not (is_whole(height) and is_whole(width) and min(height, width) > 0):
        raise RecordError("image of no size", f"expected height and width above 0, but got {height!r} x {width!r}")
    if max(height, width) > MAX_SIDE:
        raise RecordError("image of no size", f"is said to have {height} x {width} pixels, which no image has")
    return identity, height, width, name


class BoxReader:
    """Takes records of boxes one by one; a faulty one is reported and left out, a box past the border is cut."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.seen: set[Any] = set()
        self.clipped = 0

    def read(self, records: Sequence[Any]) -> None:
        """Takes all records; a loop of 100 000 should stay below a second."""
        for index, record in enumerate(records):
            before = self.clipped
            try:
                self._take(record)
            except (RecordError, TypeError, ValueError, OverflowError) as error:
                told = isinstance(error, RecordError)
                kind, detail = error.args if told else ("malformed record", f"has a field of a wrong type ({error})")
                self.faults.add(kind, place_of("annotations", index, record), detail)
            else:
                if self.clipped > before:
                    place, detail = place_of("annotations", index, record), f"bbox {record['bbox']} leaves its image"
                    self.faults.remark("box past the border", place, detail)

    def tell_clipped(self) -> None:
        """Logs how many boxes were cut."""
        if self.clipped:
            path = self.faults.path
            logger.warning("%s: cut %d boxes that reach past the border of their image", path, self.clipped)

    def _take(self, record: Any) -> None:
        """Takes one; RecordError says what is wrong with it."""
        raise undefined(self, "_take(record)")


class _AnnotationReader(BoxReader):
    """Turns annotation records into rows."""

    def __init__(self, images: ImageRecords, vocabulary: Vocabulary, with_masks: bool, faults: Faults) -> None:
        super().__init__(faults)
        self.images, self.vocabulary, self.with_masks = images, vocabulary, with_masks
        self.index_of_image = {identity: index for index, identity in enumerate(images.ids.tolist())}
        self.label_of_id = {identity: label for label, identity in enumerate(vocabulary.category_ids)}
        self.sizes = images.sizes.tolist()
        self.columns: list[tuple[int, Corners, int, bool, float]] = []
        self.segmentations: list[bytes] = []

    def rows(self) -> tuple[npt.NDArray[np.int64], tuple[npt.NDArray[Any], ...], PackedRows | None]:
        """Offsets [I + 1], the columns of `Instances` as flat arrays, and the masks.

        Those of image i are rows offsets[i] to offsets[i + 1], in the order of the file.
        """
        image, corners, label, crowd, area = zip(*self.columns, strict=True) if self.columns else [()] * 5
        order = np.argsort(np.array(image, dtype=np.int64), kind="stable")
        counts = np.bincount(np.array(image, dtype=np.int64), minlength=len(self.sizes))
        boxes = np.array(corners, dtype=np.float32).reshape(-1, 4)
        columns = (boxes, np.array(label, np.int64), np.array(crowd, np.bool_), np.array(area, np.float32))
        masks = PackedRows(self.segmentations[row] for row in order) if self.with_masks else None
        return np.cumsum([0, *counts]), tuple(column[order] for column in columns), masks

    def _take(self, record: Any) -> None:
        try:
            image_id, category_id, bbox = record["image_id"], record["category_id"], record["bbox"]
        except KeyError as missing:
            raise RecordError("missing field", f"has no {missing}") from None
        identity = record.get("id")
        if identity is not None and identity in self.seen:
            raise RecordError("duplicate annotation id", f"id {identity} occurs twice, expected each once")
        image = self.index_of_image.get(image_id)
        if image is None and image_id in self.images.dropped:
            self.faults.orphans += 1
            return
        if image is None:
            raise RecordError("unknown image", f"image_id {image_id!r} is not among the ids in 'images'")
        label = self.label_of_id.get(category_id)
        if label is None:
            raise RecordError("unknown category", f"category_id {category_id!r} {self._nearest_category(category_id)}")
        height, width = self.sizes[image]
        corners, cut = corners_within(bbox, height, width)
        self.clipped += cut
        area = area_of(record.get("area"), corners)
        _check_segmentation(record.get("segmentation"), height, width, self.with_masks)
        self.columns.append((image, corners, label, bool(int(record.get("iscrowd") or 0)), area))
        if self.with_masks:
            self.segmentations.append(packed(record["segmentation"]))
        self.seen.add(identity)

    def _nearest_category(self, category_id: Any) -> str:
        if not is_whole(category_id):
            return "is not a whole number"
        near = min(self.label_of_id, key=lambda known: abs(known - category_id))
        return f"is not in 'categories'; the nearest is {near} ('{self.vocabulary.names[self.label_of_id[near]]}')"


def corners_within(bbox: Any, height: int, width: int) -> tuple[Corners, bool]:
    """Left, top, right and bottom within the image, and whether more than a rounding was cut off."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise RecordError("malformed box", f"bbox is {bbox!r}, expected [left, top, width, height]")
    left, top, box_width, box_height = bbox
    if not math.isfinite(left + top + box_width + box_height):
        raise RecordError("box not finite", f"bbox is {bbox}, expected finite numbers")
    if box_width < MIN_SIDE or box_height < MIN_SIDE:
        sides = f"width {box_width} and height {box_height}, expected both above 0"
        raise RecordError("box without area", f"bbox {bbox} has {sides}")
    right, bottom = left + box_width, top + box_height
    cut = max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)
    if cut[2] - cut[0] < MIN_SIDE or cut[3] - cut[1] < MIN_SIDE:
        detail = f"bbox {bbox} lies outside the image of {width} x {height} pixels (or is not in pixels)"
        raise RecordError("box outside the image", detail)
    return cut, max(-left, -top, right - width, bottom - height) > ROUNDING


def area_of(given: Any, corners: Corners) -> float:
    """The area that a record gives, else its box's."""
    if given is None:
        return (corners[2] - corners[0]) * (corners[3] - corners[1])
    if not 0 <= given <= MAX_AREA:  # also refuses NaN
        raise RecordError("malformed area", f"area is {given}, expected a number from 0 on")
    return float(given)


def _check_segmentation(value: Any, height: int, width: int, needed: bool) -> None:
    if not value:
        if needed:
            raise RecordError("no mask", "has no segmentation, which with_masks needs")
        return
    try:
        if isinstance(value, list):
            _check_polygons(value)
        elif list(value["size"]) != [height, width]:
            detail = f"a mask has size {value['size']}, but the image has [{height}, {width}] (height, width)"
            raise RecordError("mask of another size", detail)
        elif isinstance(value["counts"], list) and sum(value["counts"]) != height * width:
            raise RecordError("malformed mask", f"counts add up to {sum(value['counts'])}, not {height} x {width}")
        elif needed:
            coco_mask.area(_run_lengths(value, height, width))  # refuses what it can't read
    except (TypeError, KeyError, OverflowError, RuntimeError, ValueError):
        detail = "segmentation is neither polygons [[x, y, ...], ...] nor run lengths {size, counts}"
        raise RecordError("malformed mask", detail) from None


def _check_polygons(polygons: Sequence[Any]) -> None:
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            detail = f"a polygon has {len(polygon)} numbers, expected pairs for 3 points or more"
            raise RecordError("polygon of fewer than 3 points", detail)
        if not math.isfinite(sum(polygon)):
            raise RecordError("mask not finite", "a polygon holds a number that is not finite")


def _run_lengths(segmentation: Any, height: int, width: int) -> Any:
    """Polygons, plain and compressed run lengths as compressed ones, as pycocotools makes them."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    plain = isinstance(segmentation["counts"], list)
    return coco_mask.frPyObjects(segmentation, height, width) if plain else segmentation
