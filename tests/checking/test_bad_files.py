"""Claims about broken inputs: each has its own message with file, place and remedy; none hangs or fills memory."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from checked import checked

from glipv2.check_command import inputs_of
from glipv2.checking.opening import Input, open_input
from glipv2.checking.runner import CheckReport
from glipv2.data.faults import ORPHANS, tell_skipped
from glipv2.errors import UserError

PACK = Path(__file__).parents[3] / "shared" / "data" / "coco_mini"
BAD, IMAGES = PACK / "bad", PACK / "images" / "train2017"
FILES: list[dict[str, Any]] = json.loads((BAD / "INDEX.json").read_text())["files"] if PACK.is_dir() else []
REJECTED = {  # the code, and words that say what it is
    "truncated.jpg": ("E202", "is damaged (image file is truncated"),
    "zero_bytes.jpg": ("E202", "is empty (0 bytes)"),
    "not_an_image.jpg": ("E202", "is not an image of a known format"),
    "huge_header.png": ("E202", "claims 3600000000 pixels"),
    "missing_field.json": ("E103", "has no 'bbox'"),
    "nan_box.json": ("E302", "expected finite numbers"),
    "negative_box.json": ("E303", "width -345.63 and height -420.3, expected both above 0"),
    "zero_area_box.json": ("E303", "has width 0"),
    "box_outside.json": ("E304", "lies outside the image of 640 x 427 pixels"),
    "unknown_category.json": ("E106", "category_id 999 is not in 'categories'; the nearest is 1 ('person')"),
    "duplicate_ids.json": ("E104", "id 504616 occurs twice"),
    "missing_image.json": ("E201", "image file '999999999999.jpg' is missing"),
    "dangling_image_id.json": ("E105", "image_id 999999999 is not among the ids in 'images'"),
    "polygon_two_points.json": ("E307", "a polygon has 4 numbers, expected pairs for 3 points or more"),
    "empty.json": ("E101", "is empty"),
    "empty_object.json": ("E101", "is none of the known layouts (it has: nothing)"),
    "not_json.json": ("E101", "is not JSON: Expecting value, line 1 column 1"),
    "tokens_positive_out_of_range.json": ("E401", "the span [0, 68], but the caption has 28 characters"),
}
UNUSABLE = {"empty.json", "empty_object.json", "not_json.json"}

pytestmark = pytest.mark.skipif(not PACK.is_dir(), reason=f"{PACK} is not here; it holds broken files")
every_file = pytest.mark.parametrize("entry", FILES, ids=[entry["file"] for entry in FILES])


def report_about(name: str) -> CheckReport:
    return checked(Input("train", BAD / name, IMAGES if name.endswith(".json") else None))


@every_file
def test_a_file_is_accepted_or_rejected_with_its_own_message_place_and_remedy(entry: dict[str, Any]) -> None:
    name = entry["file"]
    report = report_about(name)
    assert bool(report.findings.errors) == (entry["expect"] == "reject"), entry["fault"]
    if entry["expect"] == "accept":
        assert report.status == 0
        return
    code, words = REJECTED[name]
    (found,) = (finding for finding in report.findings.shown if finding.code == code)
    assert words in found.what
    assert str(BAD / name) in str(found)
    assert found.remedy in str(found)
    assert found.place or code == "E101"
    assert report.status == (2 if name in UNUSABLE else 1)


def test_every_rejected_file_has_its_expectation_here() -> None:
    assert {entry["file"] for entry in FILES if entry["expect"] == "reject"} == set(REJECTED)


def test_no_two_messages_are_the_same() -> None:
    told = [str(finding) for name in REJECTED for finding in report_about(name).findings.shown]
    assert len(set(told)) == len(told)


def test_a_header_that_claims_ten_gigabytes_costs_neither_memory_nor_time() -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    assert report_about("huge_header.png").findings.errors == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB, as Linux counts
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", sorted(name for name in REJECTED if name.endswith(".json") and name not in UNUSABLE))
def test_skipping_counts_each_fault_exactly_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Also where two tasks of one training open the same file, each with the parts that it needs."""
    opened = [open_input(Input("train", BAD / name, IMAGES)) for _ in range(2)]
    (counts,) = tell_skipped([fault for one in opened for fault in one.faults]).values()
    assert [count for kind, count in counts.items() if kind != ORPHANS] == [1]
    assert caplog.text.count("skipped") == 1


def test_the_message_for_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        inputs_of([str(tmp_path / "no.json")], [])
