"""Claims about what is printed when a run ends."""

import io

import pytest
from rich.console import Console

from glipv2.config import SCHEMAS
from glipv2.evaluate import summary
from glipv2.report.measures import MEASURES
from glipv2.report.scores import ScoreName
from glipv2.report.summary import show_rows
from glipv2.tasks.captioning import CaptioningConfig
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.joint import JointConfig

SCORES = {
    "detection/box_ap": 0.7137,
    "detection/box_ap_50": 0.9021,
    "detection/box_ap/red circle": 0.9,
    "vqa/accuracy": 0.5512,
    "vqa/accuracy_majority": 0.3333,
    "captioning/cider_d": 2.3456,
    "captioning/cider_d_other_scene": 0.7123,
    "captioning/rouge_l": 0.6,
    "joint/mean": 0.5878,
    "run/steps": 100,
}


def test_a_joint_run_has_a_row_for_itself_and_each_task_that_was_scored() -> None:
    assert summary(JointConfig(), SCORES) == [
        ["task", "number", "value", "baseline", "besides"],
        ["Joint", "Mean over tasks", "58.8", "", ""],
        ["Detection", "Box AP", "71.4", "", "Box AP50 90.2"],
        ["Visual question answering", "Accuracy", "55.1", "commonest answer 33.3", ""],
        ["Captioning", "CIDEr-D", "2.346", "other picture's caption 0.712", "ROUGE-L 60.0"],
    ]


def test_a_single_task_has_one_row_and_no_empty_column() -> None:
    assert summary(DetectionConfig(), {"detection/box_ap": 0.5}) == [["task", "number", "value"],
                                                                      ["Detection", "Box AP", "50.0"]]  # fmt: skip


def test_each_split_has_its_row() -> None:
    scores = {"captioning/cider_d": 2.0, "captioning/unseen/cider_d": 1.5, "captioning/unseen/cider_d_other_scene": 0.5}
    rows = summary(CaptioningConfig(), scores)
    assert rows[0] == ["task", "split", "number", "value", "baseline"]
    assert [row[1:] for row in rows[1:]] == [
        ["val", "CIDEr-D", "2", ""],
        ["unseen", "CIDEr-D", "1.5", "other picture's caption 0.5"],
    ]


@pytest.mark.parametrize("name", sorted(SCHEMAS["task"]))
def test_every_task_is_judged_by_a_number_that_the_report_can_name(name: str) -> None:
    config = SCHEMAS["task"][name]()
    task, main = config.monitor.split("/")
    assert task == config.name
    for measure in (main, *config.headlines):
        score = ScoreName(name, "", measure, "")
        assert score.kind or measure in MEASURES
    assert ScoreName(name, "", main, "").is_main


def test_rows_are_plain_text_where_nobody_looks_and_a_table_on_a_terminal() -> None:
    rows = [["task", "value"], ["Detection", "71.4"], ["Joint", "8.0"]]
    plain, shown = io.StringIO(), io.StringIO()
    show_rows(rows, Console(file=plain))
    assert plain.getvalue() == "task       value\nDetection   71.4\nJoint        8.0\n"
    show_rows(rows, Console(file=shown, force_terminal=True, width=60))
    assert "71.4" in shown.getvalue() and "┃" in shown.getvalue()
