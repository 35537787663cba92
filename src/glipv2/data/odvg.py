"""ODVG files: a JSON line an image with its boxes and classes, or a line a caption with its regions.

{"filename": "a.jpg", "height": 480, "width": 640,
 "detection": {"instances": [{"bbox": [left, top, right, bottom], "label": 0, "category": "person"}]}}
{"filename": "a.jpg", "height": 480, "width": 640, "grounding": {"caption": "A dog runs.",
 "regions": [{"bbox": [left, top, right, bottom], "phrase": "A dog", "tokens_positive": [[0, 5]]}]}}
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glipv2.data.coco import CocoDataset
from glipv2.data.faults import PLACE, Faults, RecordError, read_json, read_lines
from glipv2.data.image_ids import ids_of
from glipv2.data.mdetr import MdetrDataset, spans_in
from glipv2.errors import UserError

logger = logging.getLogger(__name__)

LABEL_MAP = "label_map.json"
Record = dict[str, Any]


class OdvgDetection(CocoDataset):
    """Images and boxes of detection lines. Their labels are the category ids.

    label_map: a JSON object of label → name; default the label_map.json beside the file, else the names of the
    lines. An image's id is the number at the end of its name where all have another one, else its place from 1.
    Faults as in `CocoDataset`, by line.
    """

    def __init__(
        self,
        lines: Path | str,
        images: Path | str,
        *,
        label_map: Path | str | None = None,
        with_masks: bool = False,
        on_error: str = "raise",
    ) -> None:
        beside = Path(lines).parent / LABEL_MAP
        self._label_map = Path(label_map) if label_map else beside if beside.is_file() else None
        if with_masks:
            raise UserError(f"{lines}: ODVG lines have no masks; ask for boxes, or give a COCO file with segmentation")
        super().__init__(lines, images, on_error=on_error)

    def _content(self, faults: Faults) -> dict[str, list[Any]]:
        names = None if self._label_map is None else read_label_map(self._label_map)
        images: list[Record] = []
        annotations: list[Record] = []
        found: dict[int, str] = {}
        seen: set[str] = set()
        for place, line in _lines(self.path, "detection", faults):
            instances = line["detection"].get("instances")
            if not isinstance(instances, list):
                faults.add("missing field", place, f"expected a list of instances, but got {instances!r}")
                continue
            if str(line.get("filename")) in seen:
                detail = f"filename '{line['filename']}' occurs twice, expected one line an image"
                faults.add("duplicate image", place, detail)
                continue
            seen.add(str(line.get("filename")))
            images.append(_image(line, len(images), place))
            for index, instance in enumerate(instances):
                own = f"{place}: instances[{index}]"
                try:
                    record = _instance(instance, found if names is None else names, grows=names is None)
                    annotations.append({PLACE: own, "image_id": len(images) - 1, **record})
                except RecordError as error:
                    faults.add(error.args[0], own, error.args[1])
        _number(images, "id")
        for record in annotations:
            record["image_id"] = images[record["image_id"]]["id"]
        every = found if names is None else names
        if not every:
            raise UserError(f"{self.path}: no line has an instance and there is no {LABEL_MAP}; classes are not known")
        return {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": label, "name": name} for label, name in sorted(every.items())],
        }


class OdvgGrounding(MdetrDataset):
    """Images with the captions of grounding lines; a phrase is what regions say by the same characters.

    Without `tokens_positive` a region's phrase is where it first stands in the caption, as whole words. Regions of a
    caption with the same box are one box with several phrases. Ids of images and faults as in `OdvgDetection`.
    """

    def _content(self, faults: Faults) -> dict[str, list[Any]]:
        images: list[Record] = []
        annotations: list[Record] = []
        for place, line in _lines(self.path, "grounding", faults):
            caption, regions = (line["grounding"].get(key) for key in ("caption", "regions"))
            if not isinstance(caption, str) or not isinstance(regions, list):
                faults.add("missing field", place, "expected a caption and a list of regions under 'grounding'")
                continue
            record = {**_image(line, len(images), place), "caption": caption}
            rows = _regions(regions, caption, place, faults)
            record["tokens_positive_eval"] = [json.loads(spans) for spans in dict.fromkeys(row[2] for row in rows)]
            annotations += _boxes(rows, record["id"])
            images.append(record)
        _number(images, "original_img_id")
        return {"images": images, "annotations": annotations}


def read_label_map(path: Path) -> dict[int, str]:
    """Names by label; UserError where the file is no object of whole numbers and names."""
    content = read_json(path, 'a label map, as {"0": "person"}')
    if not isinstance(content, dict) or not content:
        raise UserError(f'{path}: expected an object of label and name, as {{"0": "person"}}')
    for label, name in content.items():
        if not re.fullmatch(r"-?\d{1,18}", label) or not isinstance(name, str):
            raise UserError(f"{path}: expected a whole number and a name, but got {label!r}: {name!r}")
    return {int(label): name for label, name in content.items()}


def _lines(path: Path, kind: str, faults: Faults) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The usable lines of that kind with their places; the others are added to the faults."""
    seen = False
    for number, text in read_lines(path, f"ODVG lines with '{kind}'"):
        seen, place = True, f"line {number}"
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:  # also whole numbers of thousands of digits
            faults.add("line that is not JSON", place, f"is not JSON ({error}); expected one object a line")
            continue
        if isinstance(line, dict) and isinstance(line.get(kind), dict):
            yield place, line
        else:
            keys = ", ".join(map(str, line)) if isinstance(line, dict) else type(line).__name__
            faults.add(f"line without {kind}", place, f"has no object '{kind}' (it has: {keys[:100] or 'nothing'})")
    if not seen:
        raise UserError(f"{path} is empty; expected a JSON object a line with '{kind}'")


def _image(line: Mapping[str, Any], number: int, place: str) -> Record:
    """A COCO record; what is missing is found by `read_images`."""
    fields = {"height": "height", "width": "width", "filename": "file_name"}
    return {PLACE: place, "id": number, **{theirs: line[own] for own, theirs in fields.items() if own in line}}


def _instance(instance: Any, names: dict[int, str], *, grows: bool) -> Record:
    """A COCO record of an instance; `names` takes its name where it `grows`. RecordError for an unknown class."""
    if not isinstance(instance, dict):
        raise RecordError("malformed record", f"expected an object, but got {instance!r}")
    label, name = instance.get("label"), instance.get("category")
    if isinstance(label, bool) or not isinstance(label, int):
        raise RecordError("unknown category", f"label is {label!r}, expected a whole number")
    if grows and isinstance(name, str):
        names.setdefault(label, name)
    if label not in names:
        detail = f"label {label} is not in {LABEL_MAP}" if not grows else f"label {label} has no category"
        raise RecordError(
            "unknown category", f"{detail}; known are {', '.join(map(str, sorted(names)[:10])) or 'none'}"
        )
    if name is not None and name != names[label]:
        raise RecordError("unknown category", f"category is {name!r}, but label {label} means '{names[label]}'")
    return {"category_id": label, "bbox": _left_top_sides(instance.get("bbox"))}


def _left_top_sides(bbox: Any) -> Any:
    """[left, top, right, bottom] as COCO's [left, top, width, height]."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(isinstance(side, int | float) for side in bbox):
        raise RecordError("malformed box", f"bbox is {bbox!r}, expected [left, top, right, bottom]")
    left, top, right, bottom = bbox
    return [left, top, right - left, bottom - top]


def _number(images: Sequence[Record], key: str) -> None:
    """Gives images the ids of their names; those without a name, which are refused later, get others."""
    names = list(dict.fromkeys(own for record in images if isinstance(own := record.get("file_name"), str)))
    numbers = dict(zip(names, ids_of(names), strict=True))
    for index, record in enumerate(images):
        name = record.get("file_name")
        record[key] = numbers[name] if isinstance(name, str) else -1 - index


Row = tuple[str, Any, str]  # place, COCO box, spans as JSON


def _regions(regions: Sequence[Any], caption: str, place: str, faults: Faults) -> list[Row]:
    """A row for each box of each region; a region may have several."""
    rows: list[Row] = []
    for index, region in enumerate(regions):
        own = f"{place}: regions[{index}]"
        try:
            if not isinstance(region, dict):
                raise RecordError("malformed record", f"expected an object, but got {region!r}")
            found = _spans(region, caption)
            if _says_something_else(region.get("phrase"), [caption[begin:end] for begin, end in found]):
                said = " ".join(caption[begin:end] for begin, end in found)
                faults.remark(
                    "span of other words", own, f"tokens_positive are '{said}', but its phrase is '{region['phrase']}'"
                )
            spans = json.dumps(found)
            bbox = region.get("bbox")
            several = bbox if isinstance(bbox, list) and bbox and isinstance(bbox[0], list) else [bbox]
            rows += [(own, _left_top_sides(box), spans) for box in several]
        except RecordError as error:
            faults.add(error.args[0], own, error.args[1])
    return rows


def _spans(region: Mapping[str, Any], caption: str) -> Any:
    """Its `tokens_positive`, else the place of its phrase."""
    given, phrase = region.get("tokens_positive"), region.get("phrase")
    if given is not None:
        return spans_in(given, caption, "tokens_positive")
    words = [phrase] if isinstance(phrase, str) else phrase
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise RecordError("missing field", f"has no tokens_positive, and its phrase is {phrase!r}")
    return [list(_place_of_words(word.strip(), caption)) for word in words]


def _says_something_else(phrase: Any, words: Sequence[str]) -> bool:
    """Whether a phrase is given that is not these words, blanks and case aside."""
    given = " ".join(phrase) if isinstance(phrase, list) and all(isinstance(one, str) for one in phrase) else phrase
    if not isinstance(given, str):
        return False
    return given.casefold().split() != " ".join(words).casefold().split()


def _place_of_words(words: str, caption: str) -> tuple[int, int]:
    found = re.search(rf"(?<!\w){re.escape(words)}(?!\w)", caption, re.IGNORECASE)
    if found is None:
        detail = f"phrase '{words}' does not stand in the caption '{caption[:80]}'; give tokens_positive"
        raise RecordError("phrase not in the caption", detail)
    return found.span()


def _boxes(rows: Sequence[Row], image_id: int) -> Iterator[Record]:
    """One record for each different box, with the spans of all phrases that it has."""
    spans_of: dict[tuple[float, ...], list[Any]] = {}
    places: dict[tuple[float, ...], str] = {}
    for place, bbox, spans in rows:
        own = spans_of.setdefault(tuple(bbox), [])
        own += [span for span in json.loads(spans) if span not in own]
        places.setdefault(tuple(bbox), place)
    for bbox, every in spans_of.items():
        yield {PLACE: places[bbox], "image_id": image_id, "bbox": list(bbox), "tokens_positive": every}
