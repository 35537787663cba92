"""Claims about ODVG lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from formats import detection_lines, grounding_lines, write_lines, write_pictures

from glipv2.data.odvg import OdvgDetection, OdvgGrounding
from glipv2.errors import UserError


def detection(folder: Path, lines: list[Any], **options: Any) -> OdvgDetection:
    return OdvgDetection(write_lines(folder / "a.jsonl", lines), write_pictures(folder), **options)


def grounding(folder: Path, lines: list[Any], **options: Any) -> OdvgGrounding:
    return OdvgGrounding(write_lines(folder / "a.jsonl", lines), write_pictures(folder), **options)


def test_a_line_is_an_image_with_its_boxes_and_labels(tmp_path: Path) -> None:
    dataset = detection(tmp_path, detection_lines())
    assert (dataset.vocabulary.names, dataset.vocabulary.category_ids) == (("red cup", "dog"), (3, 18))
    first, second = dataset[0], dataset[1]
    assert (first.image_id, first.name, second.image_id) == (7, "7.png", 9)
    assert first.instances.boxes.tolist() == [[2, 4, 12, 14], [0.5, 0.25, 40, 20]]
    assert first.instances.labels.tolist() == [1, 0]
    assert len(second.instances) == 0


def test_the_label_map_beside_the_file_gives_all_names(tmp_path: Path) -> None:
    (tmp_path / "label_map.json").write_text(json.dumps({"3": "red cup", "18": "dog", "40": "tree"}))
    assert detection(tmp_path, detection_lines()).vocabulary.names == ("red cup", "dog", "tree")
    (tmp_path / "other.json").write_text(json.dumps({"3": "red cup", "18": "dog"}))
    assert len(detection(tmp_path, detection_lines(), label_map=tmp_path / "other.json").vocabulary) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [2, 4, 1, 14]}, "line 1: instances[0]: bbox [2, 4, -1, 10] has width -1"),
        ({"bbox": [2, 4, 12]}, "line 1: instances[0]: bbox is [2, 4, 12], expected [left, top, right, bottom]"),
        ({"bbox": [50, 4, 62, 14]}, "lies outside the image of 40 x 20"),
        ({"bbox": [float("nan"), 4, 12, 14]}, "expected finite numbers"),
        ({"label": "dog"}, "label is 'dog', expected a whole number"),
        ({"category": "cat"}, "category is 'cat', but label 18 means 'dog'"),
        ({"label": 19}, "label 19 is not in label_map.json"),
    ],
)
def test_a_faulty_instance_is_told_by_line_and_skipped_once(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    (tmp_path / "label_map.json").write_text(json.dumps({"3": "red cup", "18": "dog"}))
    lines = detection_lines()
    lines[0]["detection"]["instances"][0] |= change
    with pytest.raises(UserError) as caught:
        detection(tmp_path, lines)
    assert message in str(caught.value)
    assert "a.jsonl: 1 fault, first line 1" in str(caught.value)
    skipping = detection(tmp_path, lines, on_error="skip")
    assert list(skipping.skipped.values()) == [1]
    assert len(skipping.truth(0).boxes) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 3: is not JSON"),
        ([1, 2], "line 3: has no object 'detection' (it has: list)"),
        ({"filename": "7.png", "grounding": {}}, "it has: filename, grounding"),
        ({**detection_lines()[0], "filename": "7.png"}, "line 3: filename '7.png' occurs twice"),
        ({**detection_lines()[0], "filename": "8.png"}, "line 3: 1 of 3 image files are missing"),
        ({**detection_lines()[0], "filename": 5}, "line 3: expected a file name, but got 5"),
        ({**detection_lines()[1], "filename": "7b.png", "height": 0}, "expected height and width above 0"),
        ({"filename": "x.png", "detection": {}}, "expected a list of instances, but got None"),
    ],
)
def test_a_faulty_line_is_told_and_left_out(tmp_path: Path, line: Any, message: str) -> None:
    lines: list[Any] = [*detection_lines(), line]
    with pytest.raises(UserError) as caught:
        detection(tmp_path, lines)
    assert message in str(caught.value)
    dataset = detection(tmp_path, lines, on_error="skip")
    assert dataset.image_ids == [7, 9] or len(dataset) == 2
    assert sum(count for kind, count in dataset.skipped.items() if kind != "annotation of a faulty image") == 1


def test_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ODVG lines have no masks"):
        detection(tmp_path, detection_lines(), with_masks=True)


def test_an_empty_file_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is empty; expected a JSON object a line with 'detection'"):
        detection(tmp_path, [])
    with pytest.raises(UserError, match=r"missing\.jsonl does not exist"):
        OdvgGrounding(tmp_path / "missing.jsonl", tmp_path)


def test_lines_of_one_image_are_its_captions(tmp_path: Path) -> None:
    dataset = grounding(tmp_path, grounding_lines())
    first, second = dataset[0], dataset[1]
    assert (len(dataset), first.image_id, second.image_id) == (2, 7, 9)
    assert [caption.text for caption in first.captions] == ["A dog and a red cup.", "Two dogs."]
    assert [[(one.spans, one.instances) for one in caption.phrases] for caption in first.captions] == [
        [(((0, 5),), (0,)), (((10, 19),), (0,))],
        [(((0, 8),), (1, 2))],
    ]
    assert first.instances.boxes.tolist() == [[2, 4, 12, 14], [2, 4, 12, 14], [20, 5, 30, 15]]


def test_a_phrase_without_spans_is_found_as_whole_words(tmp_path: Path) -> None:
    (caption,) = grounding(tmp_path, grounding_lines())[1].captions
    assert [caption.text[slice(*span)] for phrase in caption.phrases for span in phrase.spans] == ["the tree"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens_positive": [[0, 50]]}, "line 1: regions[0]: tokens_positive has the span [0, 50], but the caption"),
        ({"tokens_positive": "A dog"}, "expected [[begin, end], ...]"),
        ({"tokens_positive": None, "phrase": "cat"}, "phrase 'cat' does not stand in the caption"),
        ({"tokens_positive": None, "phrase": None}, "its phrase is None"),
        ({"bbox": None}, "bbox is None"),
    ],
)
def test_a_faulty_region_is_told_by_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    lines = grounding_lines()
    lines[0]["grounding"]["regions"][0] |= change
    lines[0]["grounding"]["regions"][1]["bbox"] = [1, 2, 3, 4]
    with pytest.raises(UserError) as caught:
        grounding(tmp_path, lines)
    assert message in str(caught.value)
    assert sum(grounding(tmp_path, lines, on_error="skip").skipped.values()) == 1
