"""Claims about what the page tells of errors, costs and retention, and that broken parts break no page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glipv2.report.page import write_report

DETECTIONS = {
    "of": "detections", "region": "box", "images": 3, "objects": 40, "threshold": 0.25, "precision": 0.5, "recall": 0.3,
    "kinds": {"correct": 12, "localisation": 3, "class": 5, "both": 1, "duplicate": 0, "background": 3, "missed": 17},
    "by_class": {"cat": {"correct": 8, "class": 5, "missed": 2}, "dog": {"correct": 4, "missed": 15}},
    "confusion": [["cat", "dog", 4], ["cat", "<b>cup", 1]],
    "curves": {"0.50": [1.0] * 51 + [0.0] * 50, "0.50:0.95": [0.5] * 101},
}  # fmt: skip
PHRASES = {"of": "phrases", "count": 4, "kinds": {"found": 3, "loose": 1}}
ANSWERS = {
    "of": "answers", "count": 6, "by_kind": {"count": {"right": 3, "wrong": 2}},
    "confusion": [["count", "two", "three", 2]],
}  # fmt: skip


def run_with(folder: Path, **diagnoses: Any) -> Path:
    (folder / "diagnosis").mkdir(parents=True)
    metrics = {"detection/box_ap": 0.3, "vqa/accuracy": 0.5, "phrase_grounding/recall_1": 0.4, "run/seconds": 7200.0,
               "run/devices": 4, "run/steps": 9, "run/peak_gib": 1.5, "run/images_per_second": 12.5}  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for name, value in diagnoses.items():
        (folder / f"diagnosis/{name}.json").write_text(json.dumps(value))
    return folder


def part(page: str, anchor: str) -> str:
    return page.split(f'<section id="{anchor}">')[1].split("</section>", maxsplit=1)[0]


def test_errors_are_told_task_by_task(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", val_detection=DETECTIONS, val_vqa=ANSWERS, val_phrase_grounding=PHRASES)
    told = part(write_report([run], tmp_path / "r.html").read_text("utf-8"), "mistakes")
    assert told.index("<h3>Detection, val</h3>") < told.index("<h3>Visual question answering, val</h3>")
    assert "scored 0.25 or better, where F1 is best: 50.0 % of them are right, and 30.0 % of 40 objects" in told
    assert "Precision by recall, boxes, mean of classes" in told
    assert told.count("<b>") == 0
    assert "&lt;b&gt;cup" in told
    matrix = told.split('<table class="matrix">')[1].split("</table>")[0]
    dog = '<th scope="row">dog</th><td class="none">·</td><td class="none">·</td><td>4</td><td class="none">·</td>'
    assert f"{dog}<td>15</td>" in matrix  # columns: <b>cup, cat, dog, others, missed
    assert '<td style="background:color-mix(in srgb,var(--bad) 75%,transparent)">4</td>' in matrix
    assert ">3 of 5</td>" in told
    assert "the best box overlaps it by 0.1 to 0.5" in told


def test_costs_are_hours_times_devices(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run")
    (run / "environment.json").write_text(
        json.dumps({"device": "NVIDIA X", "cores": 8, "cpu": "AMD", "glipv2": "0.1", "commit": "abc", "dirty": True})
    )
    facts = {
        "data": {"digest": "0123", "sets": {"train": {"images": 1000}}},
        "model": {"image": {"parameters": 2000, "trained": 10}}, "parts": [{"steps": 0}, {"steps": 40}],
    }  # fmt: skip
    (run / "facts.json").write_text(json.dumps(facts))
    told = part(write_report([run], tmp_path / "r.html").read_text("utf-8"), "cost")
    for word in ("4 × NVIDIA X", "8 × AMD", "2 h 0 min", ">8<", "1.50 GiB", "commit abc, with uncommitted changes",
                 "train 1\u202f000 images", "0123", ">2\u202f000<", "again after step 40"):  # fmt: skip
        assert word in told, word


def test_retention_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run")
    assert "What was kept" not in write_report([run], tmp_path / "r.html").read_text("utf-8")
    numbers = {"detection/box_ap": {"before": 0.5, "after": 0.4, "kept": 0.8}, "detection/box_ap/cat": {"before": 1}}
    (run / "retention.json").write_text(json.dumps(numbers))
    told = part(write_report([run], tmp_path / "r.html").read_text("utf-8"), "retention")
    assert all(f">{word}<" in told for word in ("50.0", "40.0", "80.0 %"))
    assert "cat" not in told


NONSENSE: list[Any] = [None, 3, "x", [], [1], {}, {"of": "detections"}, {"of": "detections", "kinds": 5}]
NONSENSE += [{**DETECTIONS, key: value} for key in DETECTIONS for value in (None, "x", [1, [2]], {"a": {"b": []}}, -1)]
NONSENSE += [{**ANSWERS, key: value} for key in ANSWERS for value in (None, 3, [["a"]], {"a": 1})]


def test_no_nonsense_in_any_part_breaks_the_page(tmp_path: Path) -> None:
    for place, value in enumerate(NONSENSE):
        run = run_with(tmp_path / str(place), val=value)
        for name in ("facts.json", "retention.json"):
            (run / name).write_text(json.dumps({"data": value, "model": value, "parts": value, "a/b": value}))
        assert "What goes wrong" in write_report([run], tmp_path / "r.html").read_text("utf-8"), value


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 10_000, b'{"a": NaN}'])
def test_files_that_can_not_be_read_are_told(tmp_path: Path, content: bytes) -> None:
    run = run_with(tmp_path / "run")
    for name in ("diagnosis/val.json", "facts.json", "retention.json"):
        (run / name).write_bytes(content)
    page = write_report([run], tmp_path / "r.html").read_text("utf-8")
    assert page.count("could not be read") == (0 if b"NaN" in content else 3)
