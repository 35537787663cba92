"""Claims about COCO files: what a good one gives, and how a bad one is refused or skipped."""

from __future__ import annotations

import json
import logging
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from glipv2.data.coco import CocoDataset
from glipv2.errors import UserError
from glipv2.structures import Sample

PACK = Path(__file__).parents[3] / "shared" / "data" / "coco_mini"
BAD, TRAIN_IMAGES = PACK / "bad", PACK / "images" / "train2017"
old_pycocotools = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
needs_shared = pytest.mark.skipif(not PACK.is_dir(), reason=f"{PACK} is not here; it holds real COCO images")

WIDTH, HEIGHT = 40, 30
TRIANGLE = [[5.0, 5.0, 25.0, 5.0, 5.0, 20.0]]


def good() -> dict[str, Any]:
    """Two images with three annotations, listed out of order, and one image without any."""
    box = {"area": 77.5, "iscrowd": 0, "segmentation": TRIANGLE}
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
            {"id": 3, "file_name": "deep/b.png", "width": WIDTH, "height": HEIGHT},
            {"id": 2**40, "file_name": "c.png", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 90, "bbox": [1, 2, 10, 20], **box},
            {"id": 2, "image_id": 7, "category_id": 2**32 + 1, "bbox": [5, 5, 20, 15], **box},
            {"id": 3, "image_id": 3, "category_id": 2**32 + 1, "bbox": [0.5, 0.25, 4, 8]},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 2**32 + 1, "name": "red circle"}],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "deep/b.png", "c.png")):
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(tmp_path / "images" / name)
    return tmp_path


def opened(folder: Path, content: Any, **options: Any) -> CocoDataset:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "instances.json").write_text(text)
    return CocoDataset(folder / "instances.json", str(folder / "images"), **options)


def refusal(folder: Path, content: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened(folder, content, **options)
    message = str(caught.value)
    assert str(folder / "instances.json") in message.splitlines()[0]
    return message


# A good file


def test_samples_carry_what_the_file_says(folder: Path) -> None:
    dataset = opened(folder, good())
    assert len(dataset) == 3
    assert dataset.skipped == {}
    assert dataset.vocabulary.names == dataset.scored_names == ("dog", "red circle")
    assert dataset.vocabulary.category_ids == (90, 2**32 + 1)
    sample = dataset[1]
    assert (sample.image_id, sample.name, sample.image_size) == (3, "deep/b.png", (HEIGHT, WIDTH))
    assert sample.image.dtype == torch.uint8
    assert sample.image[0, 0, 0] == 1
    assert sample.instances.boxes.tolist() == [[1, 2, 11, 22], [0.5, 0.25, 4.5, 8.25]]
    assert sample.instances.labels.tolist() == [0, 1]
    assert sample.instances.areas.tolist() == [77.5, 32.0]  # the second has none of its own: width x height
    assert sample.instances.is_crowd.tolist() == [False, False]
    assert sample.instances.masks is None


def test_annotations_of_an_image_keep_the_order_of_the_file(folder: Path) -> None:
    content = good()
    content["annotations"] = [
        {"id": k, "image_id": (7, 3)[k % 2], "category_id": 90, "bbox": [0, 0, 1 + k / 16, 1]} for k in range(400)
    ]
    assert opened(folder, content)[0].instances.boxes[:, 2].tolist() == [1 + k / 16 for k in range(0, 400, 2)]


def test_an_image_without_annotations_is_kept_with_its_large_id(folder: Path) -> None:
    sample = opened(folder, good())[2]
    assert sample.image_id == 2**40
    assert sample.instances.boxes.shape == (0, 4)
    assert sample.instances.labels.dtype == torch.int64


def test_a_file_without_annotations_gives_negatives_only(folder: Path) -> None:
    dataset = opened(folder, {**good(), "annotations": []})
    assert [len(dataset[index].instances) for index in range(3)] == [0, 0, 0]


def test_indices_end_and_wrap_as_in_a_list(folder: Path) -> None:
    dataset = opened(folder, good())
    assert [sample.image_id for sample in dataset] == [7, 3, 2**40]  # type: ignore[attr-defined]
    assert dataset[-2].instances.boxes.tolist() == dataset[1].instances.boxes.tolist()
    with pytest.raises(IndexError):
        dataset[3]


def test_writing_into_a_sample_leaves_the_data_set_alone(folder: Path) -> None:
    dataset = opened(folder, good())
    dataset[0].instances.boxes.zero_()
    assert dataset[0].instances.boxes.tolist() == [[5, 5, 25, 20]]


def test_loader_workers_give_the_same_samples(folder: Path) -> None:
    dataset = opened(folder, with_masks_everywhere(), with_masks=True)
    loader = DataLoader(dataset, batch_size=None, num_workers=1)
    for ours, theirs in zip((dataset[i] for i in range(3)), loader, strict=True):
        assert_same(ours, theirs)
    assert_same(dataset[1], pickle.loads(pickle.dumps(dataset))[1])


def assert_same(first: Sample, second: Sample) -> None:
    assert (first.image_id, first.name) == (second.image_id, second.name)
    assert torch.equal(first.image, second.image)
    for field in ("boxes", "labels", "areas", "is_crowd", "masks"):
        assert torch.equal(getattr(first.instances, field), getattr(second.instances, field)), field


def test_a_box_over_the_border_is_cut_and_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = good()
    content["annotations"][0]["bbox"] = [-5, 20, 100, 100]
    content["annotations"][1]["bbox"] = [0, 0, WIDTH + 0.5, HEIGHT]  # less than a pixel over: cut in silence
    with caplog.at_level(logging.WARNING, "glipv2"):
        dataset = opened(folder, content)
    assert dataset[1].instances.boxes[0].tolist() == [0, 20, WIDTH, HEIGHT]
    assert dataset[0].instances.boxes[0].tolist() == [0, 0, WIDTH, HEIGHT]
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder / 'instances.json'}: cut 1 boxes that reach past the border of their image"
    ]


# Masks


def with_masks_everywhere() -> dict[str, Any]:
    content = good()
    plain = [100, 50, HEIGHT * WIDTH - 150]
    content["annotations"][0] |= {"iscrowd": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": plain}}
    content["annotations"][2]["segmentation"] = [*TRIANGLE, [30.5, 20.25, 38, 21, 37, 29]]
    return content


@old_pycocotools
def test_polygons_and_run_lengths_become_the_masks_of_pycocotools(folder: Path) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    content = with_masks_everywhere()
    compressed = coco_mask.encode(np.asfortranarray(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 7 == 0))
    content["annotations"][1]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": compressed["counts"].decode()}
    dataset = opened(folder, content, with_masks=True)

    def reference(segmentation: Any) -> Any:
        if isinstance(segmentation, list):
            return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, HEIGHT, WIDTH)))
        if isinstance(segmentation["counts"], list):
            segmentation = coco_mask.frPyObjects(segmentation, HEIGHT, WIDTH)
        return coco_mask.decode(segmentation)

    crowd, polygons = dataset[1].instances.masks, dataset[0].instances.masks
    assert crowd is not None
    assert polygons is not None
    assert crowd.dtype == torch.bool
    assert crowd.shape == (2, HEIGHT, WIDTH)
    assert dataset[1].instances.is_crowd.tolist() == [True, False]
    for ours, record in [(crowd[0], 0), (crowd[1], 2), (polygons[0], 1)]:
        assert 0 < int(ours.sum()) < HEIGHT * WIDTH
        assert ours.tolist() == reference(content["annotations"][record]["segmentation"]).astype(bool).tolist()
    empty = dataset[2].instances.masks
    assert empty is not None
    assert empty.shape == (0, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        (None, "has no segmentation"),
        ([], "has no segmentation"),
        ([[1, 1, 9, 9]], "a polygon has 4 numbers"),
        ([[1, 1, 9, 9, 5, 7, 8]], "a polygon has 7 numbers"),
        ([TRIANGLE[0], []], "a polygon has 0 numbers"),
        ([[1, 1, 9, 9, 5, math.nan]], "not finite"),
        ([1, 1, 9, 9, 5, 7], "neither polygons"),
        ([[[1, 1], [9, 9], [5, 7], [1, 1], [2, 2], [3, 3]]], "neither polygons"),
        ({"size": [WIDTH, HEIGHT], "counts": [WIDTH * HEIGHT]}, "the image has [30, 40] (height, width)"),
        ({"size": [HEIGHT, WIDTH], "counts": [7]}, "counts add up to 7, not 30 x 40"),
        ({"size": [HEIGHT, WIDTH], "counts": "zz!!"}, "neither polygons"),
        ({"size": [HEIGHT, WIDTH]}, "neither polygons"),
        ("polygon", "neither polygons"),
    ],
)
def test_a_faulty_mask_is_refused_when_opened(folder: Path, segmentation: Any, words: str) -> None:
    content = with_masks_everywhere()
    content["annotations"][1]["segmentation"] = segmentation
    message = refusal(folder, content, with_masks=True)
    assert "1 fault, first annotations[1] (id 2): " in message
    assert words in message


def test_a_mask_that_is_too_short_is_refused_when_read(folder: Path) -> None:
    content = with_masks_everywhere()
    content["annotations"][1]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": "259"}
    with pytest.raises(UserError, match=r"instances\.json: a mask of image 7 \('a\.png'\) can't be decoded"):
        opened(folder, content, with_masks=True)[0]


def test_boxes_alone_need_no_masks(folder: Path) -> None:
    content = good()
    content["annotations"][0]["segmentation"] = []
    del content["annotations"][1]["segmentation"]
    assert len(opened(folder, content)[1].instances) == 2


# The frame of the annotations


def test_the_record_decides_whether_exif_is_followed(folder: Path) -> None:
    stored = Image.fromarray(np.arange(WIDTH * HEIGHT * 3, dtype=np.uint32).astype(np.uint8).reshape(WIDTH, HEIGHT, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(folder / "images" / "a.png", exif=exif)  # stored 30 wide and 40 high, upright 40 wide and 30 high
    content = good()
    upright = opened(folder, content)[0].image
    content["images"][0] |= {"width": HEIGHT, "height": WIDTH}
    as_stored = opened(folder, content)[0].image
    assert upright.shape == (3, HEIGHT, WIDTH)
    assert torch.equal(as_stored, torch.from_numpy(np.array(stored)).permute(2, 0, 1))
    assert torch.equal(upright, as_stored.rot90(-1, (1, 2)))


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (WIDTH, HEIGHT + 1)])
def test_an_image_of_another_size_than_its_record_is_refused(folder: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(folder / "images" / "a.png")
    dataset = opened(folder, good())
    with pytest.raises(UserError, match=rf"a\.png is {size[0]} x {size[1]} pixels, .* describes it as 40 x 30"):
        dataset[0]


def test_a_broken_image_is_refused_by_name_when_read(folder: Path) -> None:
    (folder / "images" / "a.png").write_bytes(b"junk")
    dataset = opened(folder, good())
    with pytest.raises(UserError, match=r"a\.png is not an image"):
        dataset[0]


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
        ([{"id": 1, "name": "dog"}, {"id": 2, "name": "dog"}], "category name 'dog' occurs twice"),
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


# The shared packs


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


@needs_shared
@pytest.mark.parametrize(("split", "boxes"), [("train", 465), ("val", 377)])
def test_real_coco_opens_whole(split: str, boxes: int) -> None:
    file = PACK / "annotations" / f"instances_{split}2017.json"
    dataset = CocoDataset(file, PACK / "images" / f"{split}2017")
    samples = [dataset[index] for index in range(len(dataset))]
    crowds = torch.cat([sample.instances.is_crowd for sample in samples])
    assert (len(samples), int((~crowds).sum()), int(crowds.sum())) == (50, boxes, 5)
    assert len(dataset.vocabulary) == 80
    assert (dataset.vocabulary.names[0], dataset.vocabulary.category_ids[-1]) == ("person", 90)


@needs_shared
@old_pycocotools
def test_real_masks_are_those_of_pycocotools_crowds_too() -> None:
    reference = pytest.importorskip("pycocotools.coco").COCO(PACK / "annotations" / "instances_val2017.json")
    dataset = CocoDataset(PACK / "annotations" / "instances_val2017.json", PACK / "images" / "val2017", with_masks=True)
    crowded = {record["image_id"] for record in reference.anns.values() if record["iscrowd"]}
    samples = [dataset[index] for index, record in enumerate(reference.imgs) if record in crowded]
    assert len(samples) == 5
    for sample in samples:
        records = reference.imgToAnns[sample.image_id]
        assert sample.instances.masks is not None
        assert len(sample.instances.masks) == len(records)
        for ours, record in zip(sample.instances.masks, records, strict=True):
            assert np.array_equal(ours.numpy(), reference.annToMask(record).astype(bool))
