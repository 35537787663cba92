"""Claims about cleaned copies: a second check finds nothing, good records stay as they were, every change is listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checked import checked, codes, written
from coco_file import good
from formats import detection_lines, grounding_lines, write_lines, write_pictures
from protocol_files import lvis, write_images
from split_files import captions, grounding

from glipv2.checking.fixing import FileChange, fix
from glipv2.checking.opening import Input
from glipv2.errors import UserError


def fixed(folder: Path, content: Any) -> tuple[dict[str, Any], list[FileChange]]:
    """The cleaned content, which a second check accepts, and the changes."""
    source = Input("train", written(folder, content), folder / "images")
    report = checked(source)
    changes = fix([source], report.broken, folder / "clean")
    target = folder / "clean" / "instances.json"
    again = checked(Input("train", target, folder / "images"))
    assert codes(again) == {}, [str(finding) for finding in again.findings.shown]
    listed = json.loads((folder / "clean" / "changes.json").read_text())
    assert [FileChange(**change) for change in listed] == changes
    return json.loads(target.read_text()), changes


@pytest.mark.parametrize("content", [good(), captions(), grounding()], ids=["instances", "captions", "grounding"])
def test_a_good_file_is_copied_as_it_is(folder: Path, content: dict[str, Any]) -> None:
    assert fixed(folder, content) == (content, [])


def test_faulty_records_are_removed_and_the_others_stay(folder: Path) -> None:
    content = good()
    content["annotations"][0]["bbox"] = [1, 2, float("nan"), 20]
    content["annotations"][1]["category_id"] = 5
    clean, changes = fixed(folder, content)
    assert clean["annotations"] == good()["annotations"][2:]
    assert clean["images"] == good()["images"]
    assert [change.place for change in changes] == ["annotations[0] (id 1)", "annotations[1] (id 2)"]
    assert all(change.what.startswith("removed: ") for change in changes)


def test_an_image_that_is_missing_or_broken_goes_with_its_annotations(folder: Path) -> None:
    (folder / "images" / "a.png").unlink()
    (folder / "images" / "c.png").write_bytes(b"")
    clean, changes = fixed(folder, good())
    assert [image["id"] for image in clean["images"]] == [3]
    assert [one["id"] for one in clean["annotations"]] == [1, 3]
    assert sorted(change.place for change in changes) == ["annotations[1] (id 2)", "images[0] (id 7)", "images[2]"]


@pytest.mark.parametrize("name", ["./a.png", "deep/../a.png", "{folder}/images/a.png"])
def test_a_broken_picture_is_removed_however_its_name_is_written(folder: Path, name: str) -> None:
    content = good()
    content["images"][0]["file_name"] = name.format(folder=folder)
    (folder / "images" / "a.png").write_bytes(b"no picture")
    clean, changes = fixed(folder, content)
    assert [image["id"] for image in clean["images"]] == [3, 2**40]
    assert [change.place for change in changes] == ["images[0]", "annotations[1] (id 2)"]


def test_a_broken_picture_that_only_its_address_names_is_removed(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images" / "val2017")
    (images / "2.png").write_bytes(b"no picture")
    clean, changes = fixed(tmp_path, lvis())
    assert [image["id"] for image in clean["images"]] == [1, 3, 4, 5]
    assert 2 not in {one["image_id"] for one in clean["annotations"]}
    assert changes[0] == FileChange(
        str(tmp_path / "instances.json"), "images[1]", "removed: its picture val2017/2.png is of no use"
    )


def test_a_broken_picture_is_removed_that_lies_where_archives_unpack_to(tmp_path: Path) -> None:
    names = [f"objects365_v1_0000000{number}.jpg" for number in (1, 2)]
    write_pictures(tmp_path / "images", tuple(f"patch8/{name}" for name in names))
    (tmp_path / "images" / "patch8" / names[0]).write_bytes(b"no picture")
    content = good()
    content["images"] = [
        {"id": one, "file_name": f"images/v1/patch8/{name}", "width": 40, "height": 20}
        for one, name in zip((7, 3), names, strict=True)
    ]
    content["annotations"] = [{**row, "bbox": [1, 2, 10, 10], "segmentation": []} for row in content["annotations"]]
    clean, changes = fixed(tmp_path, content)
    assert [image["id"] for image in clean["images"]] == [3]
    assert [one["id"] for one in clean["annotations"]] == [1, 3]
    assert f"its picture patch8/{names[0]} is of no use" in changes[0].what


def test_ids_that_occur_twice_are_given_anew(folder: Path) -> None:
    content = good()
    content["annotations"][2]["id"] = 1
    clean, changes = fixed(folder, content)
    assert [one["id"] for one in clean["annotations"]] == [1, 2, 3]
    assert [one["bbox"] for one in clean["annotations"]] == [one["bbox"] for one in good()["annotations"]]
    assert changes[0].what.startswith("given the id 3")


def test_a_box_past_the_border_is_written_cut(folder: Path) -> None:
    content = good()
    content["annotations"][1]["bbox"] = [30, 20, 20, 5]
    clean, changes = fixed(folder, content)
    assert clean["annotations"][1]["bbox"] == [30, 20, 10, 5]
    assert changes[0].what == "bbox [30, 20, 20, 5] cut to [30, 20, 10, 5]"


def test_a_record_with_several_faults_ends_well(folder: Path) -> None:
    content = good()
    content["annotations"].append({**content["annotations"][1], "bbox": [50, 50, -1, 4]})  # id twice, and no area
    clean, changes = fixed(folder, content)
    assert len(clean["annotations"]) == 3
    assert len(changes) == 2


def test_a_caption_at_fault_goes_with_its_boxes(folder: Path) -> None:
    content = grounding()
    other = {**content["images"][0], "id": 99, "caption": " "}
    content["images"].append(other)
    content["annotations"].append({**content["annotations"][0], "id": 99, "image_id": 99})
    assert fixed(folder, content)[0] == grounding()


def test_nothing_is_written_over(folder: Path) -> None:
    (folder / "clean").mkdir()
    (folder / "clean" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="expected a new or an empty folder"):
        fix([Input("train", written(folder, good()), folder / "images")], {}, folder / "clean")


def test_what_it_cannot_mend_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="can't mend"):
        fix([Input("train", folder / "images")], {}, folder / "clean")
    for content in ("[]", "{}"):
        with pytest.raises(UserError, match="no list of images"):
            fix([Input("train", written(folder, content), folder / "images")], {}, folder / "clean")


def test_a_file_of_which_nothing_is_left_is_said_so(folder: Path) -> None:
    content = good()
    content["images"] = [{**image, "file_name": "no.png"} for image in content["images"]]
    source = Input("train", written(folder, content), folder / "images")
    changes = fix([source], {}, folder / "clean")
    assert changes[-1].what.startswith("nothing usable is left")


def fixed_lines(folder: Path, lines: list[Any]) -> tuple[list[Any], list[FileChange]]:
    """The cleaned ODVG lines, blank ones None, and the changes."""
    source = Input("train", write_lines(folder / "lines.jsonl", lines), write_pictures(folder / "images"))
    changes = fix([source], checked(source).broken, folder / "clean")
    again = checked(Input("train", folder / "clean" / "lines.jsonl", folder / "images"))
    assert not again.findings.errors, [str(finding) for finding in again.findings.shown]
    rows = (folder / "clean" / "lines.jsonl").read_text().removesuffix("\n").split("\n")
    return [json.loads(row) if row else None for row in rows], changes


@pytest.mark.parametrize("lines", [detection_lines(), grounding_lines()], ids=["detection", "grounding"])
def test_good_lines_are_copied_as_they_are(tmp_path: Path, lines: list[Any]) -> None:
    assert fixed_lines(tmp_path, lines) == (lines, [])


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\u2029"])
def test_marks_that_end_no_line_for_readers_cut_none(tmp_path: Path, mark: str) -> None:
    lines = detection_lines()
    lines[0]["detection"]["instances"][0]["category"] = f"dog{mark}of two lines"
    text = [json.dumps(line, ensure_ascii=False) for line in lines]
    assert mark in text[0]
    assert fixed_lines(tmp_path, [text[0], "{no json", text[1]])[0] == [lines[0], None, lines[1]]


def test_a_line_of_a_broken_picture_is_removed(tmp_path: Path) -> None:
    lines = detection_lines()
    lines[0]["filename"] = "./8.png"
    (write_pictures(tmp_path / "images") / "8.png").write_bytes(b"no picture")
    clean, changes = fixed_lines(tmp_path, [lines[0], {**detection_lines()[0], "filename": "7.png"}, lines[1]])
    assert [row and row["filename"] for row in clean] == [None, "7.png", "9.png"]
    assert [change.place for change in changes] == ["line 1"]


def test_faulty_items_and_lines_are_removed(tmp_path: Path) -> None:
    lines = detection_lines()
    lines[0]["detection"]["instances"].insert(0, {"bbox": [5, 5, 5, 9], "label": 18, "category": "dog"})
    lines[0]["detection"]["instances"].append({"bbox": [30, 5, 60, 9], "label": 18, "category": "dog"})
    clean, changes = fixed_lines(tmp_path, [lines[0], "{no json", lines[1]])
    assert clean[1] is None
    assert clean[2] == lines[1]
    assert [one["bbox"] for one in clean[0]["detection"]["instances"]][:2] == [[2, 4, 12, 14], [0.5, 0.25, 40, 20]]
    assert clean[0]["detection"]["instances"][2]["bbox"] == [30, 5, 40, 9]
    places = {change.place: change.what for change in changes}
    assert set(places) == {"line 1: instances[0]", "line 1: instances[3]", "line 2"}
    assert places["line 1: instances[3]"] == "bbox [30, 5, 60, 9] cut to [30, 5, 40, 9]"


def test_regions_at_fault_go_and_their_caption_stays(tmp_path: Path) -> None:
    lines = grounding_lines()
    lines[0]["grounding"]["regions"][1]["tokens_positive"] = [[10, 99]]
    clean, changes = fixed_lines(tmp_path, lines)
    assert [region["phrase"] for region in clean[0]["grounding"]["regions"]] == ["A dog"]
    assert clean[1:] == lines[1:]
    assert [change.place for change in changes] == ["line 1: regions[1]"]
