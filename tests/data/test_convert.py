"""Claims about conversions: what goes through another layout and back is the same, and what is lost is counted."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_file import good
from formats import HEIGHT, WIDTH, write_pictures
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from protocol_files import lvis, mdetr, write_flickr, write_images

from glipv2.cli import main
from glipv2.data.coco import CocoDataset
from glipv2.data.convert import convert
from glipv2.data.dataset import SampleDataset
from glipv2.data.mdetr import MdetrDataset
from glipv2.data.sources import AutoData
from glipv2.data.writers.numbers import left_top_sides, plain
from glipv2.errors import UserError
from glipv2.structures import ImageTruth

AREAS, CROWDS = "areas (taken to be the boxes')", "crowd regions (left out)"


@pytest.fixture
def mini(shared: Path) -> Path:
    return shared / "data" / "coco_mini"


def quiet(_: str) -> None:
    pass


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def truths(dataset: SampleDataset, kept: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """By name: everything that is told of images, as plain values."""
    every = {}
    for truth in (dataset.truth(index) for index in range(len(dataset))):
        names = [dataset.vocabulary.names[label] for label in truth.labels.tolist()]
        ids = [dataset.vocabulary.category_ids[label] for label in truth.labels.tolist()]
        fields = {
            "size": truth.image_size, "boxes": truth.boxes.tolist(), "names": names, "captions": truth.captions,
            "image_id": truth.image_id, "category_ids": ids, "is_crowd": truth.is_crowd.tolist(),
            "areas": truth.areas.tolist(),
        }  # fmt: skip
        every[truth.name] = {key: value for key, value in fields.items() if not kept or key in kept}
    return every


def opened(path: Path, images: Path, *needs: str) -> SampleDataset:
    return AutoData(path=str(path), images=str(images)).dataset("train", frozenset(needs or ("boxes",)))


ALL = ("size", "boxes", "names", "captions", "image_id", "category_ids", "is_crowd", "areas")
HELD = {
    "coco": ALL,
    "odvg": ("size", "boxes", "names", "image_id", "category_ids"),
    "yolo": ("size", "boxes", "names", "image_id"),
    "voc": ("size", "boxes", "names", "image_id", "is_crowd"),
}


@pytest.mark.parametrize("target", HELD)
def test_real_boxes_go_to_every_layout_and_back_unchanged(mini: Path, tmp_path: Path, target: str) -> None:
    images = mini / "images" / "train2017"
    source = mini / "annotations" / "instances_train2017.json"
    if target in ("odvg", "yolo"):  # which have no crowds
        content = json.loads(source.read_text())
        content["annotations"] = [record for record in content["annotations"] if not record["iscrowd"]]
        source = write(tmp_path / "train.json", content)
    lost = convert(source, tmp_path / "there", target, images=images, say=quiet)
    assert set(lost) <= {AREAS, "ids of categories (counted from 0)", "ids of categories (counted from 1)"}
    with_pictures = target in ("yolo", "voc")
    convert(tmp_path / "there", tmp_path / "back", "coco", images=None if with_pictures else images, say=quiet)
    first, last = CocoDataset(source, images), opened(tmp_path / "back", images)
    assert truths(last, HELD[target]) == truths(first, HELD[target])
    assert last.vocabulary.names == first.vocabulary.names


@pytest.mark.parametrize("target", ["mdetr", "odvg"])
@pytest.mark.parametrize("name", ["grounding_train.json", "odvg_train.jsonl"])
def test_real_captions_go_to_every_layout_and_back_unchanged(
    mini: Path, tmp_path: Path, name: str, target: str
) -> None:
    images = mini / "images" / "train2017"
    lost = convert(mini / "annotations" / name, tmp_path / "there", target, images=images, say=quiet)
    first = opened(mini / "annotations" / name, images, "boxes", "phrases")
    last = opened(tmp_path / "there", images, "boxes", "phrases")
    if target == "odvg" and name == "grounding_train.json":
        assert lost[CROWDS] > 0
        return
    kept = ("size", "boxes", "captions", "image_id", "is_crowd")
    assert truths(last, kept) == truths(first, kept)


def test_masks_go_through_coco_unchanged(mini: Path, tmp_path: Path) -> None:
    images = mini / "images" / "val2017"
    source = mini / "annotations" / "instances_val2017.json"
    assert not convert(source, tmp_path / "out", "coco", images=images, masks=True, say=quiet)
    first = CocoDataset(source, images, with_masks=True)
    last = CocoDataset(tmp_path / "out" / "val.json", images, with_masks=True)
    assert truths(first) == truths(last)
    for index in range(len(first)):
        mine, theirs = first.truth(index).masks, last.truth(index).masks
        assert mine is not None
        assert theirs is not None
        assert mine.equal(theirs)


sides = st.floats(0, 1, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> list[float]:
    """[left, top, width, height] of at least half a pixel, as people write them or as 32 bits allow."""
    digits = draw(st.sampled_from([0, 2, 3, 20]))
    left, top = (round(draw(sides) * (size - 1), digits) for size in (WIDTH, HEIGHT))
    wide, high = (
        round(0.5 + draw(sides) * (size - first - 0.5), digits) or 1 for size, first in ((WIDTH, left), (HEIGHT, top))
    )
    return [left, top, wide, high]


@given(st.lists(st.tuples(boxes(), st.sampled_from([3, 90]), st.booleans()), max_size=6))
@example([([0.0, 1.9e-14, 0.5, 0.5], 3, False)])  # one more than this is no float
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.parametrize("target", HELD)
def test_any_boxes_go_to_every_layout_and_back(target: str, rows: list[tuple[list[float], int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images = write_pictures(folder / "images")
        annotations = [
            {"id": number, "image_id": 7, "category_id": one, "bbox": bbox, "iscrowd": int(crowd and target == "voc")}
            for number, (bbox, one, crowd) in enumerate(rows)
        ]
        source = write(
            folder / "train.json",
            {
                "images": [{"id": n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in (7, 9)],
                "annotations": [*annotations, {"id": -1, "image_id": 9, "category_id": 3, "bbox": [0, 0, 5, 5]}],
                "categories": [{"id": 3, "name": "cup"}, {"id": 90, "name": "zebra"}],
            },
        )
        lost = convert(source, folder / "there", target, images=images, say=quiet)
        first, last = CocoDataset(source, images), opened_there(folder / "there", images, target)
        if not lost["boxes (moved by rounding)"]:
            assert truths(last, HELD[target]) == truths(first, HELD[target])
        assert lost["boxes (moved by rounding)"] == 0 or any(0 < side < 1e-5 for box, *_ in rows for side in box[:2])


def opened_there(path: Path, images: Path, target: str) -> SampleDataset:
    return AutoData(path=str(path), images=str(images) if target in ("coco", "odvg") else None).dataset("train")


words = st.lists(st.sampled_from(["a", "dog", "über", "red", "犬", "cup"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(words, st.lists(boxes(), min_size=1, max_size=3)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.parametrize("target", ["mdetr", "odvg"])
def test_any_captions_go_to_every_layout_and_back(target: str, rows: list[tuple[list[str], list[list[float]]]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images = write_pictures(folder / "images")
        records, annotations = [], []
        for number, (own, found) in enumerate(rows):
            text = " ".join(own)
            spans = [[0, len(own[0])], [len(text) - len(own[-1]), len(text)]]
            records.append(
                {"id": number, "file_name": "7.png", "width": WIDTH, "height": HEIGHT, "caption": text}
                | {"original_img_id": 7}
            )
            annotations += [
                {"image_id": number, "bbox": bbox, "tokens_positive": [spans[place % 2]]}
                for place, bbox in enumerate(found)
            ]
        source = write(folder / "train.json", {"images": records, "annotations": annotations})
        lost = convert(source, folder / "there", target, images=images, say=quiet)
        first, last = MdetrDataset(source, images), opened(folder / "there", images, "phrases", "boxes")
        if not lost["boxes of the same place (one of them kept)"]:
            kept = ("size", "boxes", "captions", "image_id")
            assert grounded(last.truth(0)) == grounded(first.truth(0))
            assert truths(last, kept).keys() == truths(first, kept).keys()
            assert last.truth(0).image_id == 7


def grounded(truth: ImageTruth) -> list[Any]:
    """Captions, and for each phrase its boxes; a phrase's boxes have no order."""
    return [
        (
            caption.text,
            sorted((one.spans, sorted(truth.boxes[i].tolist() for i in one.instances)) for one in caption.phrases),
        )
        for caption in truth.captions
    ]


@given(st.floats(0, 4096, width=32), st.floats(0.015625, 4096, width=32))
def test_numbers_are_written_short_and_read_the_same(first: float, side: float) -> None:
    last = float(np.float32(first + side))
    assert np.float32(plain(first)) == np.float32(first)
    if last - first > 0.011:
        left, _, width, _ = left_top_sides([first, first, last, last])
        assert np.float32(left + width) == np.float32(last)
    assert str(plain(float(np.float32(510.67)))) == "510.67"


def test_what_a_layout_cannot_hold_is_counted(tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images")
    content = {
        "images": [{"id": 5, "file_name": "7.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 9, "iscrowd": 1},
            {"id": 2, "image_id": 5, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 9},
        ],
        "categories": [{"id": 3, "name": "cup"}],
    }
    source = write(tmp_path / "a.json", content)
    said: list[str] = []
    lost = convert(source, tmp_path / "yolo", "yolo", images=images, say=said.append)
    assert lost == {
        CROWDS: 1,
        AREAS: 2,
        "ids of images (taken from their names, or counted)": 1,
        "ids of categories (counted from 0)": 1,
    }
    assert f"yolo can't hold: 1 {CROWDS}" in said
    assert said[0] == f"train: 1 images and 2 boxes of {source} (COCO instances)"
    assert not convert(source, tmp_path / "coco", "coco", images=images, say=quiet)


def test_judgements_of_lvis_and_types_of_flickr30k_are_counted(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    lost = convert(write(tmp_path / "val.json", lvis()), tmp_path / "coco", "coco", images=images, say=quiet)
    assert lost["frequencies of LVIS"] == 5
    assert lost["judgements of LVIS (negative and not exhaustive categories)"] == 5
    lost = convert(write_flickr(tmp_path / "flickr"), tmp_path / "mdetr", "mdetr", images=images, say=quiet)
    assert lost["boxes shared by captions (repeated for each)"] == 1
    assert lost["types of phrases"] == 5


@pytest.mark.parametrize(
    ("target", "content", "message"),
    [
        ("yolo", mdetr(), "boxes with words, not classes, which yolo can't hold; choose --to mdetr or --to odvg"),
        ("mdetr", good(), "boxes with classes, not captions, which mdetr can't hold; choose --to coco or"),
        ("coco", {"questions": [{"question": "?"}]}, "VQA v2 questions, which has no boxes"),
    ],
)
def test_layouts_that_do_not_fit_are_refused(tmp_path: Path, target: str, content: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        convert(write(tmp_path / "a.json", content), tmp_path / "out", target, say=quiet)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_never_written_to(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is there already; give a new folder"):
        convert(write(tmp_path / "a.json", good()), tmp_path, "coco", say=quiet)


def test_pictures_beside_labels_are_links_or_copies(folder: Path) -> None:
    source = write(folder / "train.json", good())
    for copy in (False, True):
        out = folder / f"out{copy}"
        convert(source, out, "yolo", copy=copy, say=quiet)
        picture = out / "images" / "train" / "deep" / "b.png"
        assert picture.is_symlink() is not copy
        assert picture.read_bytes() == (folder / "images" / "deep" / "b.png").read_bytes()
        assert len(AutoData(path=str(out)).dataset("train")) == 3


def test_the_command_says_what_it_wrote(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(folder / "instances_val.json", good())
    main(["data", "convert", str(source), str(folder / "out"), "--to", "odvg"])
    told = capsys.readouterr().out
    assert "val: 3 images and 3 boxes" in told
    assert "odvg can't hold: 3 ids of images" in told
    assert (folder / "out" / "val.jsonl").read_text().count("\n") == 3
    with pytest.raises(SystemExit) as caught:
        main(["data", "convert", str(source), str(folder / "out"), "--to", "word"])
    assert caught.value.code == 2
    assert "invalid choice: 'word'" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["yolo", "voc"])
def test_names_that_leave_the_folder_or_share_a_label_file_are_refused(folder: Path, target: str) -> None:
    outside = "lies outside of the pictures' folder"
    for name, message in (("../c.png", outside), (str(folder / "c.png"), outside), ("a.jpg", "two images")):
        (folder / "images" / name).write_bytes((folder / "images" / "c.png").read_bytes())
        content = good()
        content["images"][2]["file_name"] = name
        with pytest.raises(UserError, match=message):
            convert(write(folder / "train.json", content), folder / "out", target, images=folder / "images", say=quiet)
        assert not (folder / "out").exists()


def test_names_that_end_like_a_flag_go_to_voc_and_back(folder: Path) -> None:
    content = good()
    for record, name in zip(content["images"], ("photo 0.png", "photo 1.png", "photo.png"), strict=True):
        (folder / "images" / record["file_name"]).rename(folder / "images" / name)
        record["file_name"] = name
    convert(write(folder / "train.json", content), folder / "out", "voc", say=quiet)
    assert truths(AutoData(path=str(folder / "out")).dataset("train")).keys() == {
        "photo 0.png", "photo 1.png", "photo.png",
    }  # fmt: skip
