"""Claims about `data=auto`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from coco_file import good
from formats import detection_lines, grounding_lines, write_lines, write_pictures, write_voc, write_yolo
from protocol_files import lvis, mdetr, write_flickr, write_images
from split_files import answers, captions, questions

from glipv2.data.coco import CocoDataset
from glipv2.data.formats import recognise, with_images
from glipv2.data.mdetr import MdetrDataset
from glipv2.data.places import image_folder, sibling, split_of
from glipv2.data.sources import AutoData, AutoSplit
from glipv2.errors import UserError

BOXES, CAPTIONS, QUESTIONS = (frozenset({need}) for need in ("boxes", "captions", "questions"))
PHRASES = frozenset({"boxes", "phrases"})


@pytest.fixture
def mini(shared: Path) -> Path:
    return shared / "data" / "coco_mini"


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


MINI = [
    ("annotations/instances_{}2017.json", "COCO instances", frozenset({"boxes", "masks"}), 50, 50),
    ("annotations/captions_{}2017.json", "COCO captions", CAPTIONS, 50, 50),
    ("annotations/lvis_{}.json", "LVIS v1", BOXES, 50, 50),
    ("annotations/odvg_det_{}.jsonl", "ODVG detection lines", BOXES, 50, 50),
    ("annotations/odvg_{}.jsonl", "ODVG grounding lines", PHRASES, 47, 48),
    ("annotations/grounding_{}.json", "MDETR grounding", PHRASES, 47, 48),
    ("annotations/vqa_{}_questions.json", "VQA v2 questions", QUESTIONS, 50, 48),
    ("annotations/vqa_{}_annotations.json", "VQA v2 annotations", QUESTIONS, 50, 48),
    ("annotations/refcoco_style/refs_{}.jsonl", "referring expressions, a JSON line each", PHRASES, 45, 37),
    ("annotations/refcoco_style", "referring expressions, a JSON line each", PHRASES, 45, 37),
    ("flickr", "Flickr30k Entities", PHRASES, 50, 50),
    ("yolo", "YOLO", BOXES, 50, 50),
    ("yolo/data.yaml", "YOLO", BOXES, 50, 50),
    ("voc", "Pascal VOC", BOXES, 50, 50),
]


@pytest.mark.parametrize(("path", "name", "needs", "train", "val"), MINI)
def test_every_file_of_coco_mini_is_read_by_its_path_alone(
    mini: Path, path: str, name: str, needs: frozenset[str], train: int, val: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = AutoData(path=str(mini / path.format("train")), answer_min_count=1)
    data.check_needs(needs, ["train", "val"], "a test")
    with caplog.at_level("INFO"):
        sizes = [len(data.dataset(split, needs)) for split in ("train", "val")]
    assert sizes == [train, val]
    assert f" as {name}, because it" in caplog.text
    assert data.dataset("val", needs)[0].image.numel()


def test_a_folder_of_several_layouts_is_ambiguous_and_lists_them(mini: Path) -> None:
    with pytest.raises(UserError) as caught:
        AutoData(path=str(mini)).dataset("train", BOXES)
    for name in (
        "COCO instances: instances_train2017.json",
        "YOLO: data.yaml",
        "Pascal VOC: voc",
        "set data.train.path",
    ):
        assert name in str(caught.value)


def test_text_in_a_json_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("Hello\n")
    with pytest.raises(UserError, match="is not JSON: Expecting value, line 1 column 1"):
        recognise(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["Hello\n", '{"a": 1}', "[]", '{"images": 5}', "[[1]]"])
def test_what_is_unknown_is_told_with_what_was_looked_for(tmp_path: Path, text: str) -> None:
    path = tmp_path / ("a.txt" if text == "Hello\n" else "a.json")
    path.write_text(text)
    with pytest.raises(UserError, match=r"none of the known layouts .*looked for data\.yaml with names"):
        recognise(path)
    with pytest.raises(UserError, match="holds no known annotations; looked for"):
        recognise(tmp_path)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        AutoData(path=str(tmp_path / "nowhere")).dataset("train")
    with pytest.raises(UserError, match=r"needs data\.path .* or data\.val\.path"):
        AutoData().dataset("val")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_train2017.json", "train"), ("a/valid/_annotations.coco.json", "val"), ("a_minival.json", "val"),
        ("my_test_data/boxes.json", None), ("val2017/boxes.json", "val"), ("trainval.json", None),
        ("train_and_val.json", None), ("boxes.json", None), ("test/train.json", "train"), ("contest.json", None),
    ],
)  # fmt: skip
def test_the_split_is_a_whole_word_of_the_name_or_of_the_folder(name: str, split: str | None) -> None:
    assert split_of(Path("somewhere") / name) == split


def test_the_file_of_another_split_lies_beside_or_in_the_folder_of_that_split(tmp_path: Path) -> None:
    first = write(tmp_path / "train" / "_annotations.coco.json", {})
    second = write(tmp_path / "valid" / "_annotations.coco.json", {})
    assert sibling(first, "val") == second
    assert sibling(second, "train") == first
    assert sibling(first, "test") is None


def test_a_file_without_a_split_in_its_name_serves_one_split_only(folder: Path) -> None:
    path = str(write(folder / "boxes.json", good()))
    data = AutoData(path=path)
    assert len(data.dataset("val")) == len(data.dataset("train")) == 3
    with pytest.raises(UserError, match=r"would be both train and val; set data\.train\.path and data\.val\.path"):
        data.check_needs(BOXES, ["train", "val"], "task=detection")
    AutoData(train=AutoSplit(path), val=AutoSplit(path)).check_needs(BOXES, ["train", "val"], "a deliberate choice")


def test_a_file_that_cannot_give_what_the_task_needs_is_refused_by_what_it_is(folder: Path) -> None:
    data = AutoData(path=str(write(folder / "boxes.json", captions())))
    with pytest.raises(UserError, match=r"task=detection needs boxes, but .* is COCO captions"):
        data.check_needs(BOXES, ["train"], "task=detection")
    data = AutoData(path=str(write(folder / "boxes.json", mdetr())))
    with pytest.raises(UserError, match=r"task=detection needs boxes, but .* is MDETR grounding"):
        data.check_needs(BOXES, ["train"], "task=detection")


def test_images_are_found_near_the_file_and_named_where_they_are_not(folder: Path) -> None:
    (found,) = recognise(write(folder / "deep" / "annotations" / "boxes.json", good()))
    assert image_folder(found, "data.images") == folder / "images"
    shutil.copytree(folder / "images", folder / "deep" / "images")
    assert image_folder(found, "data.images") == folder / "deep" / "images"
    shutil.copytree(folder / "images", folder / "deep" / "img")
    with pytest.raises(UserError, match=r"both .* hold its image 'a\.png'; set data\.images"):
        image_folder(found, "data.images")
    for place in (folder / "images", folder / "deep" / "images", folder / "deep" / "img"):
        shutil.rmtree(place)
    with pytest.raises(UserError, match=r"no folder near it holds its image 'a\.png'.*set data\.images"):
        image_folder(found, "data.images")


def test_a_given_folder_of_images_wins(folder: Path) -> None:
    path = write(folder / "boxes.json", good())
    shutil.copytree(folder / "images", folder / "others")
    data = AutoData(path=str(path), images=str(folder / "images"), train=AutoSplit(images=str(folder / "others")))
    train, val = data.dataset("train"), data.dataset("val")
    assert isinstance(train, CocoDataset)
    assert isinstance(val, CocoDataset)
    assert (train.folder, val.folder) == (folder / "others", folder / "images")


def test_small_files_of_every_layout_are_recognised(tmp_path: Path) -> None:
    pictures = write_images(tmp_path / "images")
    places = {
        "COCO captions": write(tmp_path / "1.json", captions()),
        "VQA v2 questions": write(tmp_path / "2.json", questions()),
        "VQA v2 annotations": write(tmp_path / "3.json", answers()),
        "LVIS v1": write(tmp_path / "4.json", lvis()),
        "MDETR grounding": write(tmp_path / "5.json", mdetr()),
        "ODVG detection lines": write_lines(tmp_path / "6.jsonl", detection_lines()),
        "ODVG grounding lines": write_lines(tmp_path / "7.jsonl", grounding_lines()),
        "YOLO": write_yolo(tmp_path / "8"),
        "Pascal VOC": write_voc(tmp_path / "9"),
        "Flickr30k Entities": write_flickr(tmp_path / "10"),
        "Objects365": write(
            tmp_path / "11.json", {**good(), "images": [{"file_name": "images/v1/patch8/objects365_v1_00420917.jpg"}]}
        ),
    }
    assert {name: recognise(path)[0].format.value for name, path in places.items()} == {name: name for name in places}
    assert pictures == image_folder(recognise(places["LVIS v1"])[0], "key")
    assert pictures == image_folder(recognise(places["MDETR grounding"])[0], "key")


def test_images_of_lists_with_flags_are_found(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "ImageSets/Main/train.txt").write_text("7  1\n")
    (tmp_path / "Annotations/9 1.xml").write_text("<annotation><filename>9.png</filename></annotation>")
    (tmp_path / "ImageSets/Main/val.txt").write_text("9 1\n")
    (found,) = recognise(tmp_path)
    assert with_images(found, "train").images == (("7.png", "VOC/7.png"),)
    assert with_images(found, "val").images == (("9.png",),)


def test_folders_of_splits_as_exports_have_them_are_read(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_pictures(tmp_path / split, ("a.png", "deep/b.png", "c.png"))
        write(
            tmp_path / split / "_annotations.coco.json",
            {**good(), "images": [{**record, "width": 40, "height": 20} for record in good()["images"]]},
        )
    data = AutoData(path=str(tmp_path))
    assert [len(data.dataset(split)) for split in ("train", "val")] == [3, 3]
    with pytest.raises(UserError, match=r"0 files are 'test' by their names .*set data\.test\.path"):
        data.dataset("test")


def test_captions_of_grounding_files_hold_phrases_too(tmp_path: Path) -> None:
    write_images(tmp_path)
    data = AutoData(path=str(write(tmp_path / "a.json", mdetr())))
    assert data.holds("val", CAPTIONS) == frozenset({"captions", "phrases", "boxes"})
    assert isinstance(data.dataset("val", CAPTIONS), MdetrDataset)
