"""Claims about what a good COCO file gives: samples, masks, and the frame of its boxes."""

from __future__ import annotations

import logging
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_file import HEIGHT, TRIANGLE, WIDTH, good, opened, refusal
from PIL import Image
from torch.utils.data import DataLoader

from glipv2.data.coco import CocoDataset
from glipv2.errors import UserError
from glipv2.structures import Sample

PACK = Path(__file__).parents[3] / "shared" / "data" / "coco_mini"
old_pycocotools = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
needs_shared = pytest.mark.skipif(not PACK.is_dir(), reason=f"{PACK} is not here; it holds real COCO images")

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


def test_two_categories_of_one_name_stay_two(folder: Path) -> None:
    content = {**good(), "categories": [{"id": 90, "name": "dog"}, {"id": 2**32 + 1, "name": "dog"}]}
    dataset = opened(folder, content)
    assert dataset.vocabulary.names == ("dog (id 90)", f"dog (id {2**32 + 1})")
    assert dataset.vocabulary.category_ids == (90, 2**32 + 1)
    assert [dataset[index].instances.labels.tolist() for index in range(2)] == [[1], [0, 1]]


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


# The shared pack


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
