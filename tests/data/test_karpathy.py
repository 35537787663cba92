"""Claims about Karpathy's caption splits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glipv2.data.karpathy import KarpathyCaptions
from glipv2.data.sources import AutoData
from glipv2.errors import UserError

CAPTIONS = frozenset({"captions"})


def content() -> dict[str, Any]:
    """Four images, one a split, of which one lies in no inner folder."""
    rows = [(7, "train", "train2014"), (9, "restval", "val2014"), (3, "val", "val2014"), (4, "test", "gone")]
    images = [
        {"cocoid": one, "imgid": place, "split": split, "filepath": inner, "filename": f"COCO_{inner}_{one:012d}.jpg",
         "sentences": [{"raw": f"Picture {one}. ", "tokens": ["picture"]}, {"raw": "A dog."}]}
        for place, (one, split, inner) in enumerate(rows)
    ]  # fmt: skip
    return {"dataset": "coco", "images": images}


def write(folder: Path, own: Any) -> Path:
    for inner in ("train2014", "val2014"):
        (folder / "coco" / inner).mkdir(parents=True, exist_ok=True)
    for image in content()["images"]:
        inner = image["filepath"] if image["filepath"] != "gone" else "."
        Image.new("RGB", (8, 4)).save(folder / "coco" / inner / image["filename"])
    (folder / "dataset_coco.json").write_text(json.dumps(own))
    return folder / "dataset_coco.json"


def test_a_split_has_its_images_and_their_sentences_and_restval_is_trained_on(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    found = {split: KarpathyCaptions(path, tmp_path / "coco", split) for split in ("train", "val", "test")}
    assert {split: [own.truth(row).image_id for row in range(len(own))] for split, own in found.items()} == {
        "train": [7, 9], "val": [3], "test": [4],
    }  # fmt: skip
    assert [caption.text for caption in found["train"][1].captions] == ["Picture 9.", "A dog."]
    assert found["val"][0].name == "val2014/COCO_val2014_000000000003.jpg"
    assert found["test"].truth(0).image_size == (4, 8)


def test_it_is_recognised_with_its_splits_and_images(tmp_path: Path) -> None:
    data = AutoData(path=str(write(tmp_path, content())), images=str(tmp_path / "coco"))
    data.check_needs(CAPTIONS, ["train", "val", "test"], "a test")
    assert [len(data.dataset(split, CAPTIONS)) for split in ("train", "val", "test")] == [2, 1, 1]
    with pytest.raises(UserError, match=r"needs boxes, but .* is Karpathy's caption splits"):
        data.check_needs(frozenset({"boxes"}), ["train"], "task=detection")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cocoid", "7", "expected a whole number as cocoid or imgid, but got '7'"),
        ("cocoid", 9, "id 9 occurs twice"),
        ("filename", None, "expected a file name, but got None"),
        ("filename", "no.jpg", r"image file 'train2014/no\.jpg' is missing"),
        ("sentences", [], "expected texts under 'raw'"),
        ("sentences", [{"raw": " "}], "expected texts under 'raw'"),
    ],
)
def test_a_faulty_image_is_told_with_its_place_or_left_out(tmp_path: Path, key: str, value: Any, message: str) -> None:
    own = content()
    own["images"][0][key] = value
    path = write(tmp_path, own)
    place = 1 if "twice" in message else 0
    with pytest.raises(UserError, match=rf"dataset_coco\.json: 1 fault, first images\[{place}\]: .*{message}"):
        KarpathyCaptions(path, tmp_path / "coco", "train")
    assert len(KarpathyCaptions(path, tmp_path / "coco", "train", on_error="skip")) == 1


def test_a_split_that_there_is_not_and_another_file_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    with pytest.raises(UserError, match="split 'unseen' has no image to read; it has train, val, test"):
        KarpathyCaptions(path, tmp_path / "coco", "unseen")
    with pytest.raises(UserError, match="expected images with 'split' and 'sentences'"):
        KarpathyCaptions(write(tmp_path, {"images": []}), tmp_path / "coco", "train")
