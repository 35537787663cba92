"""A thousand random corruptions of valid files: each ends in success or in one clear error."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_file import good
from split_files import answers, captions, grounding, questions

from glipv2.checking.findings import OTHER
from glipv2.checking.opening import Input, open_input
from glipv2.data.captions import KnownImages
from glipv2.data.coco import CocoDataset
from glipv2.data.coco_split import CocoSplit
from glipv2.data.mdetr import MdetrDataset
from glipv2.data.questions import read_questions
from glipv2.errors import UserError

SEED = 5
EACH = 250
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**64, -(2**70), 0.5, math.nan, math.inf, -math.inf, 1e308, "", " ", "7", "犬",
    "\ud800", "a" * 300, [], [[]], [0, 0, 0, 0], [1, 2], [["a"]], {}, {"id": 1}, [{}], "../..", "/", "a\0b",
]  # fmt: skip
Open = Callable[[Path], object]


def open_answers(path: Path) -> object:
    """Questions that are good with answers that are not."""
    asked = path.with_name("questions.json")
    asked.write_text(json.dumps(questions()))
    known = KnownImages(frozenset({7, 3, 2**40}), frozenset(), "train")
    return read_questions(asked, path, known, "raise")


def instances(path: Path) -> object:
    samples = CocoDataset(path, path.parent / "images", with_masks=False)
    return [samples.truth(index) for index in range(len(samples))]


def grounded(path: Path) -> object:
    samples = MdetrDataset(path, path.parent / "images")
    return [samples.truth(index) for index in range(len(samples))]


def sentences(path: Path) -> object:
    split = CocoSplit(images=str(path.parent / "images"), captions=str(path))
    samples = split.samples(frozenset({"captions"}), "raise", None, "train")
    return [samples.truth(index) for index in range(len(samples))]


KINDS: dict[str, tuple[dict[str, Any], Open]] = {
    "instances": (good(), instances),
    "captions": (captions(), sentences),
    "grounding": (grounding(), grounded),
    "answers": (answers(), open_answers),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value below."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [own for key, below in items for own in [(*path, key), *places(below, (*path, key))]]


def corrupted(content: Any, dice: random.Random) -> str:
    """The file with one to three changes of values or keys, or of its bytes."""
    changed = copy.deepcopy(content)
    for _ in range(dice.randint(1, 3)):
        every = places(changed)
        if not every:
            break
        *way, last = dice.choice(every)
        parent = changed
        for key in way:
            parent = parent[key]
        what = dice.randrange(4)
        if what == 0:
            del parent[last]
        elif what == 1 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        elif what == 2 and isinstance(parent, dict):
            parent[f"{last}x"] = parent.pop(last)
        else:
            parent[last] = copy.deepcopy(dice.choice(STRANGE))
    text = json.dumps(changed)
    if dice.random() < 0.15:
        cut = dice.randrange(len(text))
        text = dice.choice([text[:cut], text[:cut] + dice.choice('{}[],:"\x00') + text[cut + 1 :]])
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_a_corrupted_file_is_read_or_refused_in_one_clear_error(folder: Path, kind: str) -> None:
    content, read = KINDS[kind]
    dice = random.Random(f"{SEED} {kind}")
    refused = 0
    for number in range(EACH):
        path = folder / "corrupted.json"
        text = corrupted(content, dice)
        path.write_text(text)
        try:
            read(path)
        except UserError as error:
            refused += 1
            assert "corrupted.json" in str(error) or "train" in str(error) or "image" in str(error), str(error)
        except Exception as error:
            raise AssertionError(f"corruption {number} of {kind}: {type(error).__name__} {error}\n{text}") from error
        if kind != "answers":
            told = list(open_input(Input("train", path, folder / "images")).findings())
            assert all(finding.code != OTHER and finding.what for finding in told), (number, told, text)
    assert refused > EACH // 3
