"""Claims about LVIS files: which file an image is, what is judged, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from protocol_files import lvis, write_images

from glipv2.data.lvis import Judgement, LvisDataset
from glipv2.errors import UserError


def opened(folder: Path, content: Any, images: str = "images", **options: Any) -> LvisDataset:
    (folder / "lvis.json").write_text(json.dumps(content))
    return LvisDataset(folder / "lvis.json", folder / images, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path / "images" / "val2017")
    return tmp_path


def test_an_image_is_found_by_the_end_of_its_address(folder: Path) -> None:
    assert opened(folder, lvis())[0].name == "val2017/1.png"
    assert opened(folder, lvis(), "images/val2017")[0].name == "1.png"


def test_a_file_name_comes_first_where_it_is_there(folder: Path) -> None:
    content = lvis()
    content["images"][0]["file_name"] = "val2017/2.png"
    content["images"][0] |= {"width": 48, "height": 64}
    assert opened(folder, content)[0].name == "val2017/2.png"
    content["images"][0] |= {"file_name": "gone.png", "width": 64, "height": 48}
    assert opened(folder, content)[0].name == "val2017/1.png"


def test_judgements_are_labels_by_image(folder: Path) -> None:
    dataset = opened(folder, lvis())
    content = lvis()
    for image in content["images"]:
        judged = dataset.judgements[image["id"]]
        assert isinstance(judged, Judgement)
        assert [dataset.vocabulary.category_ids[label] for label in judged.negative] == image["neg_category_ids"]
    assert dataset.judgements[2].not_exhaustive == (dataset.judgements[2].not_exhaustive[0],)


def test_names_stand_in_the_order_of_their_ids_with_their_frequencies(folder: Path) -> None:
    content = lvis()
    content["categories"].reverse()
    dataset = opened(folder, content)
    assert dataset.vocabulary.category_ids == (1, 2, 3, 4, 5)
    assert dataset.frequencies == ("r", "c", "c", "f", "f")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["categories"][1].update(frequency="x"), "frequency of category 'red circle' is 'x'"),
        (lambda content: content["images"][3].update(neg_category_ids=[99]), "neg_category_ids of image 4"),
        (lambda content: content["images"][0].pop("neg_category_ids"), "neg_category_ids of image 1 is None"),
        (lambda content: content["annotations"][2].update(bbox=[0, 0, -1, 2]), "expected both above 0"),
        (lambda content: [image.pop("not_exhaustive_category_ids") for image in content["images"]], "not an LVIS v1"),
        (lambda content: content["images"][0].pop("coco_url"), "has no 'file_name'"),
        (lambda content: content["images"][0].update(coco_url="http://x/train2017/9.png"), "1 of 5 image files"),
    ],
)
def test_a_fault_is_told(folder: Path, change: Any, message: str) -> None:
    content = lvis()
    change(content)
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        opened(folder, content)


def test_faulty_records_are_counted_where_asked(folder: Path) -> None:
    content = lvis()
    content["annotations"][2]["bbox"] = [0, 0, -1, 2]
    content["images"][4]["coco_url"] = "http://x/train2017/9.png"
    dataset = opened(folder, content, on_error="skip")
    assert len(dataset) == 4
    assert dataset.skipped["box without area"] == 1
    assert dataset.skipped["missing image file"] == 1


def test_the_shared_files_open(shared: Path) -> None:
    pack = shared / "data" / "coco_mini"
    for split, boxes in (("train", 465), ("val", 377)):
        dataset = LvisDataset(pack / f"annotations/lvis_{split}.json", pack / "images")
        assert sum(len(dataset[index].instances) for index in range(len(dataset))) == boxes
        assert len(dataset.judgements) == len(dataset) == 50
        assert dataset[0].name.startswith(f"{split}2017/")
        assert len(dataset.frequencies) == len(dataset.vocabulary) == 80
