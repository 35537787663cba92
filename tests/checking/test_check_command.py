"""Claims about `glipv2 data check` and `glipv2 data preview` as commands: words, exit statuses, files they write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from checked import written
from coco_file import good
from formats import write_pictures, write_yolo
from PIL import Image
from split_files import answers, captions, grounding, questions

from glipv2.arguments import composed
from glipv2.check_command import inputs_of
from glipv2.checking.findings import CODES
from glipv2.preview import preview, seen

Command = Callable[..., Any]
DOCS = Path(__file__).parents[2] / "docs" / "data_check.md"


def test_the_exit_status_tells_errors_warnings_and_what_is_no_data(glipv2: Command, folder: Path) -> None:
    content = good()
    content["categories"].append({"id": 1, "name": "cat"})  # without a box: a warning
    written(folder, content, "warned.json")
    content["annotations"][0]["bbox"] = [1, 1, 0, 0]
    written(folder, content, "wrong.json")
    written(folder, "", "empty.json")
    for name, status in (("warned.json", 0), ("wrong.json", 1), ("empty.json", 2), ("absent.json", 2)):
        ended = glipv2(folder, "data", "check", name, "--images", "images", "--workers", "1")
        assert ended.code == status, (name, ended)
        assert "Traceback" not in ended.err


def test_what_is_told_names_file_place_and_remedy(glipv2: Command, folder: Path) -> None:
    content = good()
    content["annotations"][0]["bbox"] = [1, 1, 0, 0]
    written(folder, content)
    told = glipv2(folder, "data", "check", "train=instances.json", "--images", "images", "--workers", "1").out
    assert "E303 boxes without area: 1" in told
    assert "instances.json: annotations[0] (id 1): bbox [1, 1, 0, 0] has width 0 and height 0" in told
    assert f"to do: {CODES['E303'].remedy}" in told
    assert "1 error, 1 warning; 3 pictures read" in told  # no box of a dog is left


class Page(HTMLParser):
    """What a page holds: its tags, its pictures, and what it asks for from outside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures = 0
        self.asked: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith(("data:", "#")):
                self.asked.append(value)
            self.pictures += tag == "img" and name == "src"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_json_and_html_hold_the_findings_and_the_page_asks_for_nothing(glipv2: Command, folder: Path) -> None:
    content = good()
    content["annotations"][1]["bbox"] = [1, 1, 0.5, 9]
    content["categories"][0]["name"] = "<script>alert(1)</script>"
    written(folder, content)
    words = ("--images", "images", "--json", "out/check.json", "--html", "out/check.html", "--workers", "1")
    assert glipv2(folder, "data", "check", "instances.json", *words).code == 0
    told = json.loads((folder / "out/check.json").read_text())
    assert [finding["code"] for finding in told["findings"]] == ["W312"]
    text = (folder / "out/check.html").read_text("utf-8")
    page = Page(text)
    assert (page.open, page.asked) == ([], [])
    assert page.pictures == 4  # three samples, and the finding's
    assert "W312" in text
    assert "<script>alert" not in text


def test_a_fixed_copy_is_written_beside_what_is_told(glipv2: Command, folder: Path) -> None:
    content = good()
    content["annotations"][0]["bbox"] = [1, 1, 0, 0]
    written(folder, content)
    words = ("data", "check", "instances.json", "--fix", "clean", "--workers", "1")  # the images are found
    ended = glipv2(folder, *words)
    assert "clean: cleaned copies; 1 changes" in ended.out
    assert glipv2(folder, "data", "check", "clean/instances.json", "--images", "images").code == 0
    again = glipv2(folder, *words)
    assert again.code == 2
    assert "nothing is written over" in again.err


def test_words_that_make_no_sense_are_refused_in_one_line(glipv2: Command, folder: Path) -> None:
    written(folder, good())
    for words in (
        ("instances.json", "--images", "nowhere"),
        ("instances.json", "--images", "images", "images"),
        ("instances.json", "--fast"),
        (),
    ):
        ended = glipv2(folder, "data", "check", *words)
        assert ended.code == 2
        assert len(ended.err.splitlines()) == 1, ended.err


def test_a_folder_with_splits_is_one_input_a_split(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    assert [(one.split, one.own_split) for one in inputs_of([str(tmp_path)], [])] == [
        ("train", "train"),
        ("val", "val"),
    ]
    assert [one.split for one in inputs_of([f"val={tmp_path}"], [])] == ["val"]


def test_pictures_of_which_nobody_says_anything_are_read(glipv2: Command, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").write_bytes(b"")
    ended = glipv2(tmp_path, "data", "check", "photos", "--workers", "1")
    assert ended.code == 1
    assert "E202" in ended.out


def test_the_page_of_codes_lists_every_code_with_its_words() -> None:
    rows = dict(re.findall(r"^\| (\w\d{3}) \| ([^|]*) \|", DOCS.read_text("utf-8"), re.MULTILINE))
    assert rows == {code: one.title for code, one in CODES.items()}


# Preview

FILES = {"captions": captions, "grounding": grounding, "questions": questions, "answers": answers}


def coco_words(folder: Path, *keys: str) -> list[str]:
    words = ["data=coco", "model=nano", "data.answer_min_count=1", f"data.train.images={folder / 'images'}"]
    for key in keys:
        words.append(f"data.train.{key}={written(folder, FILES[key](), f'{key}.json')}")
    return words


def test_a_preview_shows_boxes_where_training_puts_them(folder: Path) -> None:
    words = ["task=detection", *coco_words(folder), "data.augment.flip=0"]
    words.append(f"data.train.annotations={written(folder, good())}")
    assert preview(words, folder / "sheet.png", 3) == 3
    assert Image.open(folder / "sheet.png").width > 3 * 480
    assert preview(words, folder / "again.png", 3) == 3
    assert (folder / "again.png").read_bytes() == (folder / "sheet.png").read_bytes()


@pytest.mark.parametrize(
    ("task", "keys"),
    [("phrase_grounding", ["grounding"]), ("captioning", ["captions"]), ("vqa", ["captions", "questions", "answers"])],
)
def test_every_task_has_a_preview(folder: Path, task: str, keys: list[str]) -> None:
    config = composed([f"task={task}", "loss=glipv2", *coco_words(folder, *keys)])
    torch.manual_seed(0)
    pictures = list(seen(config.task, config, 2))
    assert pictures
    assert all(picture.width == 480 and picture.height > 360 for picture in pictures)  # with the text below


def test_a_preview_of_masks_and_of_all_tasks_at_once(glipv2: Command, tmp_path: Path) -> None:
    words = ("task=joint", "data=shapes", "model=nano", "loss=glipv2", "--count", "1", "-o", "sheet.jpg")
    ended = glipv2(tmp_path, "data", "preview", *words)
    assert ended.code == 0, ended.err
    assert re.search(r"sheet\.jpg: \d training samples", ended.out)


def test_a_preview_refuses_what_training_refuses(glipv2: Command, tmp_path: Path) -> None:
    for words, told in (
        (("task=detection", "data=coco", "model=nano"), "data.train.images"),
        (("task=nothing",), "no such preset"),
        (("task=detection", "data=shapes", "-o", "sheet.txt"), "expected a picture's name"),
    ):
        ended = glipv2(tmp_path, "data", "preview", *words)
        assert ended.code == 2
        assert told in ended.err
