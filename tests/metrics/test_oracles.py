"""Claims about the oracles: every number of every folder is met, and the script says so where it is not."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import oracles
import pytest
from oracle_cases.case import Case, Row, Unmeasured, rows_of

from glipv2.errors import UserError

FOLDERS = Path(__file__).parents[3] / "shared" / "oracles"
needs_oracles = pytest.mark.skipif(not FOLDERS.is_dir(), reason=f"{FOLDERS} is not here; it holds others' numbers")
# How many numbers there are to meet, and what the oracle refuses: nobody may lose a case in silence.
NUMBERS = {
    "captions": 8166,
    "coco_detection": 5626,
    "flickr30k_entities": 1314,
    "lvis": 7654,
    "phrasecut": 796,
    "refcoco": 142,
    "vqa": 561,
}


@needs_oracles
@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_every_number_of_an_oracle_is_met(name: str) -> None:
    cases = list(oracles.folder_rows(FOLDERS / name))
    rows = [row for _, own in cases for row in own]
    beyond = [oracles.line_of(row) for row in rows if row.difference > row.tolerance]
    assert not beyond, "\n".join(beyond[:20])
    assert sum(not math.isnan(row.measured) for row in rows) >= NUMBERS[name]
    assert max(row.difference for row in rows) <= 1e-6  # captions too: no caption is split otherwise
    assert not [case.note for case, _ in cases if case.note]


@needs_oracles
def test_what_an_oracle_refuses_is_refused_or_a_miss() -> None:
    rows = [
        row
        for name in ("flickr30k_entities", "refcoco")
        for _, own in oracles.folder_rows(FOLDERS / name)
        for row in own
    ]
    told = {row.name: row.why for row in rows if row.why}
    assert set(told) == {
        "phrase_with_empty_box_list", "missing_prediction", "wrong_number_of_phrases", "no_boxes",
    }  # fmt: skip
    assert told["phrase_with_empty_box_list"].endswith("defined here: 0, 1")  # one phrase, no hit
    assert told["wrong_number_of_phrases"].startswith("refused")
    assert told["missing_prediction"].startswith("refused")


def folder_of(tmp_path: Path, accuracy: float, extra: str = "") -> Path:
    """A small vqa folder with one question of which half the people said "yes"."""
    folder = tmp_path / "vqa"
    folder.mkdir()
    answers = [{"answer": "yes" if index < 2 else f"no {index}"} for index in range(10)]
    question = {"question_id": 1, "answers": answers, "answer_type": "yes/no", "question_type": "is"}
    contents = {
        "annotations": {"annotations": [question]},
        "results": [{"question_id": 1, "answer": "yes"}],
        "expected": {"accuracy": {"overall": accuracy}, "per_question": {"1": 60.0}},
        "edge_cases": [],
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    if extra:
        (tmp_path / extra).mkdir()
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["oracles.py", *words])
    return oracles.main()


def test_met_numbers_are_printed_and_missing_and_extra_folders_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(folder_of(tmp_path, 60.0, extra="depth"))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "vqa/main/accuracy/overall: expected 60, measured 60, off by 0.0e+00" in lines
    assert f"== lvis: MISSING from {tmp_path}" in lines
    assert "== depth: EXTRA, no metric of this project is held to it" in lines
    assert lines[-1] == "max_abs_diff=0.000e+00"


def test_a_number_beyond_tolerance_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(folder_of(tmp_path, 60.5)), "--brief") == 1
    lines = capsys.readouterr().out.splitlines()
    assert "vqa/main/accuracy/overall: expected 60.5, measured 60, off by 5.0e-01  BEYOND" in lines
    assert not [line for line in lines if "per_question" in line]  # met, and so not worth a line
    assert lines[-1] == "max_abs_diff=5.000e-01"


def test_an_unreadable_folder_and_an_empty_directory_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path, 60.0)
    (folder / "vqa" / "results.json").unlink()
    assert run(monkeypatch, str(folder)) == 1
    assert "== vqa: UNREADABLE" in capsys.readouterr().out
    shutil.rmtree(folder / "vqa")
    assert run(monkeypatch, str(folder)) == 2
    assert "has none of the folders" in capsys.readouterr().err


def refusing() -> None:
    raise UserError("no such box")


def test_numbers_without_counterpart_are_told_apart() -> None:
    expected = {"a": 1.0, "b": {"c": 2, "d": [3, 4]}, "text": "kept out"}
    measured = {"a": 1.5, "b": Unmeasured("needs Java")}
    rows = {row.name: row for row in rows_of(Case("x", expected, lambda: measured))}
    assert rows["x/a"].difference == 0.5
    assert [rows[name].why for name in ("x/b/c", "x/b/d/0", "x/b/d/1")] == ["needs Java"] * 3
    assert len(rows) == 4
    assert next(rows_of(Case("x", {"a": 1.0}, dict))).difference == math.inf
    (refused,) = rows_of(Case("x", {"a": 1.0}, refusing))
    assert refused.difference == math.inf
    (shared,) = rows_of(Case("x", {"iou": {"raises": "KeyError"}}, refusing))
    assert (shared.difference, shared.why) == (0.0, "refused, as by the oracle (KeyError): no such box")
    assert Row("n", 1.0, math.nan, 1e-6).difference == math.inf
