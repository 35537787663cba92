"""Claims about grounded captions in MDETR's layout."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from protocol_files import mdetr, write_images

from glipv2.data.mdetr import MdetrDataset
from glipv2.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path / "images")
    return tmp_path


def opened(folder: Path, content: Any, on_error: str = "raise") -> MdetrDataset:
    (folder / "mdetr.json").write_text(json.dumps(content))
    return MdetrDataset(folder / "mdetr.json", folder / "images", on_error=on_error)


def test_captions_of_one_file_are_one_sample(folder: Path) -> None:
    dataset = opened(folder, mdetr())
    assert len(dataset) == 2
    first = dataset[0]
    assert (first.image_id, first.name) == (501, "1.png")
    assert [caption.text for caption in first.captions] == ["A dog and a red cup.", "Two dogs."]
    assert [[phrase.instances for phrase in caption.phrases] for caption in first.captions] == [[(0,), (1,)], [(2, 3)]]
    assert first.instances.boxes.tolist()[1] == [10, 20, 26, 36]


def test_phrases_are_the_spans_of_boxes_where_none_are_listed(folder: Path) -> None:
    sample = opened(folder, mdetr())[1]
    caption = sample.captions[0]
    assert [caption.text[begin:end] for phrase in caption.phrases for begin, end in phrase.spans] == ["tree"]


def test_a_phrase_without_a_box_is_not_asked_for(folder: Path) -> None:
    content = mdetr()
    content["annotations"] = content["annotations"][1:]
    assert [phrase.spans for phrase in opened(folder, content)[0].captions[0].phrases] == [((10, 19),)]


def test_ids_are_counted_where_the_file_has_none_of_its_own(folder: Path) -> None:
    content = mdetr()
    for record in content["images"]:
        del record["original_img_id"]
    assert [opened(folder, content)[index].image_id for index in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("annotations", {"tokens_positive": [[0, 68]]}, "span [0, 68], but the caption has 20 characters"),
        ("annotations", {"tokens_positive": [[5, 5]]}, "span [5, 5]"),
        ("annotations", {"tokens_positive": [0, 5]}, "expected [[begin, end], ...]"),
        ("annotations", {"bbox": [0, 0, 0, 4]}, "expected both above 0"),
        ("annotations", {"bbox": [100, 0, 4, 4]}, "outside the image"),
        ("annotations", {"image_id": 99}, "not among the ids"),
        ("annotations", {"id": 2}, "id 2 occurs twice"),
        ("images", {"caption": ""}, "expected a text"),
        ("images", {"tokens_positive_eval": [[[0, 99]]]}, "tokens_positive_eval has the span"),
        ("images", {"file_name": "gone.png"}, "image files are missing"),
    ],
)
def test_a_fault_is_told_or_counted(folder: Path, part: str, change: dict[str, Any], message: str) -> None:
    content = mdetr()
    content[part][0].update(change)
    with pytest.raises(UserError, match=re.escape(message)):
        opened(folder, content)
    kept = opened(folder, content, on_error="skip")
    assert kept.skipped
    assert len(kept) == 2


def test_a_file_without_captions_is_refused(folder: Path) -> None:
    content = mdetr()
    for record in content["images"]:
        del record["caption"]
    with pytest.raises(UserError, match="no image has a 'caption'"):
        opened(folder, content)


def test_the_shared_files_open(shared: Path) -> None:
    pack = shared / "data" / "coco_mini"
    for split, captions, phrases in (("train", 185, 326), ("val", 213, 299)):
        dataset = MdetrDataset(pack / f"annotations/grounding_{split}.json", pack / f"images/{split}2017")
        samples = [dataset[index] for index in range(len(dataset))]
        every = [caption for sample in samples for caption in sample.captions]
        assert len(every) == captions
        assert sum(len(caption.phrases) for caption in every) == phrases


def test_the_shared_fault_is_told(shared: Path) -> None:
    pack = shared / "data" / "coco_mini"
    with pytest.raises(UserError, match=r"span \[0, 68\]"):
        MdetrDataset(pack / "bad/tokens_positive_out_of_range.json", pack / "images/train2017")
