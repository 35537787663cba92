"""Claims about damaged files of every layout: each is read, or refused in words."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from formats import detection_lines, grounding_lines, write_lines, write_pictures, write_voc, write_yolo

from glipv2.data.dataset import SampleDataset
from glipv2.data.formats import recognise
from glipv2.data.objects365 import Objects365Dataset
from glipv2.data.odvg import OdvgDetection, OdvgGrounding
from glipv2.data.references import ReferencesDataset
from glipv2.data.voc import VocDataset
from glipv2.data.yolo import YoloDataset
from glipv2.errors import UserError

CORRUPTIONS = 150  # of each layout
VALUES = (
    None,
    True,
    -1,
    0,
    3.5,
    1e308,
    10**30,
    float("nan"),
    "",
    "犬",
    "\0",
    [],
    [[]],
    {},
    [1, "a"],
    "../x",
    "9" * 5000,
)
Open = Callable[[Path, str], SampleDataset]  # (the damaged file, on_error)


def odvg(folder: Path) -> tuple[Path, Open]:
    path = write_lines(folder / "a.jsonl", detection_lines())
    return path, lambda own, on_error: OdvgDetection(own, write_pictures(folder), on_error=on_error)


def odvg_grounding(folder: Path) -> tuple[Path, Open]:
    path = write_lines(folder / "a.jsonl", grounding_lines())
    return path, lambda own, on_error: OdvgGrounding(own, write_pictures(folder), on_error=on_error)


def references(folder: Path) -> tuple[Path, Open]:
    line = {"ref_id": 1, "image_id": 7, "ann_id": 5, "expression": "the left dog", "bbox": [1, 2, 10, 8]}
    path = write_lines(folder / "a.jsonl", [line, {**line, "image_id": 9}])
    return path, lambda own, on_error: ReferencesDataset(own, write_pictures(folder), on_error=on_error)


def objects365(folder: Path) -> tuple[Path, Open]:
    content = {
        "images": [{"id": 2, "file_name": "images/v1/patch8/7.png", "height": 20, "width": 40}],
        "annotations": [{"id": 1, "image_id": 2, "category_id": 6, "bbox": [1, 2, 10, 10], "iscrowd": 0}],
        "categories": [{"id": 52, "name": "Bakset"}, {"id": 6, "name": "Car"}],
    }
    path = write_lines(folder / "a.json", [content])
    return path, lambda own, on_error: Objects365Dataset(own, write_pictures(folder), on_error=on_error)


def yolo_labels(folder: Path) -> tuple[Path, Open]:
    description = write_yolo(folder)
    path = folder / "labels" / "train" / "7.txt"
    return path, lambda _, on_error: YoloDataset(description, "train", on_error=on_error)


def yolo_description(folder: Path) -> tuple[Path, Open]:
    return write_yolo(folder), lambda own, on_error: YoloDataset(own, "train", on_error=on_error)


def voc(folder: Path) -> tuple[Path, Open]:
    write_voc(folder)
    return folder / "Annotations" / "7.xml", lambda _, on_error: VocDataset(folder, "train", on_error=on_error)


def damaged_text(text: str, chance: random.Random) -> str:
    """Some characters lost, doubled or replaced."""
    for _ in range(chance.randint(1, 3)):
        first = chance.randrange(len(text))
        last = min(len(text), first + chance.choice((0, 1, 2, 20)))
        put = chance.choice(("", "0", "-", "nan", "1e999", "<", '"', "{", "\n", "\0", ": ", "é", text[first:last] * 2))
        text = text[:first] + put + text[last:] or "x"
    return text


def damaged_json(text: str, chance: random.Random) -> str:
    """A value of one of the lines replaced, or a key lost."""
    lines = [json.loads(line) for line in text.splitlines()]
    place: Any = lines
    while True:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.15:
            break
        place = inner
    if chance.random() < 0.2:
        del place[key]
    else:
        place[key] = chance.choice(VALUES)
    return "\n".join(json.dumps(line) for line in lines)


@pytest.mark.parametrize(
    "make",
    [odvg, odvg_grounding, references, objects365, yolo_labels, yolo_description, voc],
    ids=lambda make: make.__name__,
)
def test_every_damaged_file_is_read_or_refused_in_words(
    make: Callable[[Path], tuple[Path, Open]], tmp_path: Path
) -> None:
    path, reader = make(tmp_path)
    good = path.read_text("utf-8")
    assert len(reader(path, "raise"))
    refused = 0
    for number in range(CORRUPTIONS):
        chance = random.Random(number)
        damaged = damaged_json if path.suffix in (".json", ".jsonl") and chance.random() < 0.7 else damaged_text
        path.write_text(damaged(good, chance), "utf-8")
        for on_error in ("raise", "skip"):
            try:
                dataset = reader(path, on_error)
                assert dataset.truth(0).image_size == (20, 40) or make is not yolo_labels
            except UserError as error:
                refused += on_error == "raise"
                assert len(str(error).splitlines()[0]) > 20
        with contextlib.suppress(UserError):
            recognise(path)
    assert refused > CORRUPTIONS // 10


def test_a_number_of_two_pictures_is_no_expressions_picture(tmp_path: Path) -> None:
    path, opened = references(tmp_path)
    assert len(opened(path, "raise")) == 2
    (tmp_path / "mask_7.png").write_bytes((tmp_path / "7.png").read_bytes())
    with pytest.raises(UserError, match=r"7\.png and mask_7\.png have the number 7"):
        opened(path, "raise")
    assert len(opened(path, "skip")) == 1


def test_a_picture_without_a_number_is_none_of_the_number_null(tmp_path: Path) -> None:
    path, opened = references(tmp_path)
    write_pictures(tmp_path)
    (tmp_path / "plain.png").write_bytes((tmp_path / "7.png").read_bytes())
    path.write_text(path.read_text().replace('"image_id": 9', '"image_id": null'))
    with pytest.raises(UserError, match=r"1 fault, first line 2: .* no file has the number None"):
        opened(path, "raise")
