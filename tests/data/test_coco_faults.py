"""Claims about how a bad COCO file is refused or skipped."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_file import good, opened, refusal

from glipv2.data.coco import CocoDataset
from glipv2.errors import UserError

PACK = Path(__file__).parents[3] / "shared" / "data" / "coco_mini"
BAD, TRAIN_IMAGES = PACK / "bad", PACK / "images" / "train2017"
needs_shared = pytest.mark.skipif(not PACK.is_dir(), reason=f"{PACK} is not here; it holds real COCO images")

# Faults of records

Change = Callable[[dict[str, Any]], Any]


def annotation(**fields: Any) -> Change:
    return lambda content: content["annotations"][1].update(fields)


def image(**fields: Any) -> Change:
    return lambda content: content["images"][0].update(fields)


RECORD_FAULTS: list[tuple[Change, str, str]] = [
    (lambda c: c["annotations"][1].pop("bbox"), "missing field", "annotations[1] (id 2): has no 'bbox'"),
    (lambda c: c["annotations"][1].pop("image_id"), "missing field", "annotations[1] (id 2): has no 'image_id'"),
    (lambda c: c["annotations"].append(5), "malformed record", "annotations[3]: has a field of a wrong type"),
    (annotation(bbox=[5, 5, 20]), "malformed box", "bbox is [5, 5, 20], expected [left, top, width, height]"),
    (annotation(bbox=["5", 5, 20, 5]), "malformed record", "annotations[1] (id 2): has a field of a wrong type"),
    (annotation(bbox=[5, math.nan, 20, 5]), "box not finite", "bbox is [5, nan, 20, 5], expected finite numbers"),
    (annotation(bbox=[5, math.inf, -math.inf, 5]), "box not finite", "expected finite numbers"),
    (annotation(bbox=[5, 5, 0, 9]), "box without area", "has width 0 and height 9, expected both above 0"),
    (annotation(bbox=[25, 20, -20, -15]), "box without area", "has width -20 and height -15"),
    (annotation(bbox=[40, 0, 9, 9]), "box outside the image", "lies outside the image of 40 x 30 pixels"),
    (annotation(bbox=[-9, -9, 9, 9]), "box outside the image", "bbox [-9, -9, 9, 9] lies outside"),
    (annotation(area=math.nan), "malformed area", "area is nan"),
    (annotation(area=-1), "malformed area", "area is -1"),
    (annotation(category_id=92), "unknown category", "92 is not in 'categories'; the nearest is 90 ('dog')"),
    (annotation(category_id=1), "unknown category", "category_id 1 is not"),  # 2**32 + 1 did not wrap
    (annotation(category_id="90"), "unknown category", "category_id '90' is not a whole number"),
    (annotation(image_id=8), "unknown image", "image_id 8 is not among the ids in 'images'"),
    (annotation(image_id=[7]), "malformed record", "annotations[1] (id 2): has a field of a wrong type"),
    (annotation(id=1), "duplicate annotation id", "annotations[1] (id 1): id 1 occurs twice"),
    (annotation(segmentation=[[1, 2, 3, 4]]), "polygon of fewer than 3 points", "a polygon has 4 numbers"),
    (image(width=0), "image of no size", "images[0] (id 7): expected height and width above 0, but got 30 x 0"),
    (image(height=math.nan), "image of no size", "got nan x 40"),
    (image(id="7"), "malformed image id", "images[0] (id 7): expected a whole number as id, but got '7'"),
    (image(id=2**63), "malformed image id", "expected a whole number as id"),
    (image(id=2**40), "duplicate image id", f"images[2] (id {2**40}): id {2**40} occurs twice"),
    (image(file_name=""), "malformed file name", "expected a file name, but got ''"),
    (lambda c: c["images"][0].pop("height"), "missing field", "images[0] (id 7): has no 'height'"),
    (lambda c: c["images"].append("d.png"), "malformed record", "images[3]: expected an object, but got 'd.png'"),
    (image(file_name="x.png"), "missing image file", "images[0] (id 7): 1 of 3 image files are missing from"),
]


@pytest.mark.parametrize(("change", "kind", "words"), RECORD_FAULTS)
def test_a_faulty_record_is_refused_with_its_place_or_skipped_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture, change: Change, kind: str, words: str
) -> None:
    content = good()
    change(content)
    message = refusal(folder, content)
    assert words in message.splitlines()[0]
    assert "on_error=skip" in message.splitlines()[0]
    with caplog.at_level(logging.WARNING, "glipv2"):
        dataset = opened(folder, content, on_error="skip")
    assert dataset.skipped[kind] == 1
    assert sum("skipped" in record.getMessage() for record in caplog.records) == 1
    for sample in (dataset[index] for index in range(len(dataset))):
        assert sample.instances.boxes.isfinite().all()


def test_all_faults_are_told_at_once_with_the_first_in_the_first_line(folder: Path) -> None:
    content = good()
    content["annotations"][0]["bbox"] = [1, 2, 0, 0]
    content["annotations"][1]["category_id"] = 5
    lost = {"image_id": 404, "category_id": 90, "bbox": [0, 0, 9, 9]}
    content["annotations"] += [{"id": 10 + k, **lost} for k in range(9)]
    lines = refusal(folder, content).splitlines()
    assert lines[0].startswith(f"{folder / 'instances.json'}: 11 faults, first annotations[0] (id 1): bbox [1, 2, 0,")
    assert lines[1].startswith("  then annotations[1] (id 2): category_id 5")
    assert lines[-1] == "  in all 9 unknown image, 1 box without area, 1 unknown category"
    assert len(lines) == 6


def test_missing_images_are_told_once_with_their_number_and_folder(folder: Path) -> None:
    for name in ("a.png", "deep/b.png"):
        (folder / "images" / name).unlink()
    first, *rest = refusal(folder, good()).splitlines()
    assert f"2 of 3 image files are missing from {folder / 'images'}, first 'a.png'" in first
    assert rest == ["  in all 2 missing image file"]
    dataset = opened(folder, good(), on_error="skip")
    assert dataset.skipped == {"missing image file": 2, "annotation of a faulty image": 3}
    assert [dataset[index].image_id for index in range(len(dataset))] == [2**40]


def test_a_file_with_ids_of_text_is_told_of_its_images_alone(folder: Path) -> None:
    content = good()
    for record in content["images"] + content["annotations"]:
        record["image_id" if "image_id" in record else "id"] = str(record.get("image_id", record["id"]))
    lines = refusal(folder, content).splitlines()
    assert "3 faults, first images[0] (id 7): expected a whole number as id, but got '7'" in lines[0]
    assert lines[-1] == "  in all 3 malformed image id"


def test_an_annotation_without_an_id_is_not_a_duplicate_of_the_next(folder: Path) -> None:
    content = good()
    for record in content["annotations"]:
        del record["id"]
    assert len(opened(folder, content)[1].instances) == 2


def test_skipping_everything_is_refused(folder: Path) -> None:
    content = good()
    for record in content["images"]:
        record["file_name"] = "nowhere.png"
    assert "no image to read" in refusal(folder, content, on_error="skip")


# Faults of the file


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("images: [", "is not JSON: Expecting value, line 1 column 1"),
        ('{"images": [],\n "annotations": [1 2]}', "is not JSON: Expecting ',' delimiter, line 2 column 20"),
        ('{"filename": "a.jpg"}\n{"filename": "b.jpg"}\n', "convert JSON lines (ODVG) to COCO"),
        ("[" * 100_000, "can't be read as JSON"),
        ("{}", "expected COCO lists, but images, annotations, categories missing or no list (keys: none)"),
        ("[]", "expected a COCO object, but got a JSON list"),
        ("3", "expected a COCO object, but got a JSON int"),
        ('[{"image_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}]', "a list of results (predictions, not truth)"),
        ('{"info": 1, "images": [], "annotations": []}', "categories missing or no list (keys: info, images, annotat"),
        ('{"images": {}, "annotations": [], "categories": []}', "images missing or no list"),
        ('{"images": [], "annotations": [{"tokens_positive": []}], "categories": []}', "this is grounding data"),
        ('{"images": [], "annotations": [], "categories": []}', "at least one category"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "no image to read"),
    ],
)
def test_a_file_that_is_not_coco_is_always_refused(folder: Path, text: str, words: str, on_error: str) -> None:
    message = refusal(folder, text, on_error=on_error)
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ([{"id": 1, "supercategory": "animal"}], "categories[0] is {'id': 1, 'supercategory': 'animal'}, exp"),
        ([{"name": "dog"}], "expected a whole 'id' and a 'name'"),
        ([{"id": "1", "name": "dog"}], "expected a whole 'id'"),
        ([{"id": 1, "name": "  "}], "category 1 has an empty name"),
        ([{"id": 1, "name": "dog"}, {"id": 1, "name": "cat"}], "category id '1' occurs twice"),
        ([{"id": 1, "name": "dog"}, {"id": 1, "name": "dog"}], "category id '1' occurs twice"),
        (["dog"], "categories[0] is dog"),
    ],
)
def test_faulty_categories_are_always_refused(folder: Path, categories: Any, words: str, on_error: str) -> None:
    assert words in refusal(folder, {**good(), "categories": categories}, on_error=on_error)


def test_wrong_paths_and_policies_are_refused_by_name(folder: Path) -> None:
    opened(folder, good())
    with pytest.raises(UserError, match=r"annotation file .*nowhere\.json does not exist"):
        CocoDataset(folder / "nowhere.json", folder / "images")
    with pytest.raises(UserError, match=r"image folder .*nowhere is missing"):
        CocoDataset(folder / "instances.json", folder / "nowhere")
    with pytest.raises(UserError, match=r"images can't be read as JSON"):
        CocoDataset(folder / "images", folder / "images")
    with pytest.raises(UserError, match=r"expected on_error=raise or skip, but got 'skp'; did you mean 'skip'"):
        CocoDataset(folder / "instances.json", folder / "images", on_error="skp")


# The shared pack


PLACES = {
    "missing_field.json": "annotations[0] (id 504616): has no 'bbox'",
    "duplicate_ids.json": "annotations[1] (id 504616): id 504616 occurs twice",
    "missing_image.json": "images[0] (id 60623): 1 of 1 image files are missing",
    "dangling_image_id.json": "annotations[0] (id 504616): image_id 999999999",
    "not_json.json": "line 1 column 1",
}


@needs_shared
def test_every_bad_file_is_refused_by_name_and_place_and_every_good_one_opens() -> None:
    listed = json.loads((BAD / "INDEX.json").read_text())["files"]
    listed = [entry for entry in listed if entry["kind"].endswith("annotation")]
    assert len(listed) == 16
    for entry in listed:
        path = BAD / entry["file"]
        if entry["expect"] == "accept":
            assert len(CocoDataset(path, TRAIN_IMAGES, with_masks=True)[0].instances) == 2
            continue
        with pytest.raises(UserError) as caught:
            CocoDataset(path, TRAIN_IMAGES)
        first = str(caught.value).splitlines()[0]
        assert first.startswith(str(path))
        assert PLACES.get(path.name, "") in first
