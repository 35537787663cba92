"""Claims about pages of runs of other tasks than detection, and of several at once."""

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from glipv2.report.cards import headline_scores
from glipv2.report.charts import loss_terms
from glipv2.report.page import write_report
from glipv2.report.run import RunFolder

METRICS = {
    "detection/box_ap": 0.7137,
    "detection/box_ap/red circle": 0.9555,
    "instance_segmentation/mask_ap": 0.6111,
    "instance_segmentation/box_ap": 0.7011,
    "phrase_grounding/recall_1": 0.8123,
    "phrase_grounding/recall_5": 0.9123,
    "phrase_grounding/merged_recall_1": 0.7023,
    "phrase_grounding/recall_1/people": 0.4321,
    "vqa/accuracy": 0.5512,
    "vqa/accuracy/question/count": 0.2345,
    "vqa/accuracy_majority": 0.3333,
    "vqa/accuracy_majority_by_kind": 0.4444,
    "vqa/unknown_answers": 17.0,
    "captioning/cider_d": 2.3456,
    "captioning/cider_d_other_scene": 0.7123,
    "captioning/bleu_4": 0.4011,
    "joint/mean": 0.5878,
    "vqa/unseen/accuracy": 0.4901,
    "vqa/unseen/accuracy_majority": 0.3211,
    "joint/unseen/mean": 0.4567,
    "run/steps": 100,
}
TASKS = {
    "detection": "Detection",
    "instance_segmentation": "Instance segmentation",
    "phrase_grounding": "Phrase grounding",
    "vqa": "Visual question answering",
    "captioning": "Captioning",
}


def write_curves(path: Path, start: str) -> None:
    """What training on answers logs, under "train/" or under the task's name in a joint run."""
    names = ["step", "train/loss", *{f"train/{start}{name}": 0 for name in ("loss", "answers", "alignment")}]
    names += [f"train/{start}answers_right", "vqa/accuracy", "vqa/accuracy_majority", "captioning/cider_d"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(names)))
        writer.writeheader()
        for step in range(1, 61):
            answers, alignment = 3 / step, 2 / step
            own = {"answers": answers, "alignment": alignment, "loss": answers + alignment, "answers_right": 0.01}
            rows = {f"train/{start}{name}": value for name, value in own.items()}
            writer.writerow({"step": step, "train/loss": 9.0 / step, **rows})
        scores = {"vqa/accuracy": 0.55, "vqa/accuracy_majority": 0.33, "captioning/cider_d": 2.3}
        writer.writerow({"step": 60, **scores})


def folder_of(path: Path, tasks: set[str]) -> Path:
    """A run's folder with numbers and galleries of these tasks."""
    path.mkdir()
    numbers = {name: value for name, value in METRICS.items() if name.split("/")[0] in {*tasks, "run"}}
    (path / "metrics.json").write_text(json.dumps(numbers))
    for task in tasks - {"joint"}:
        for split in ("val", "unseen"):
            own = path / "gallery" / (split if len(tasks) == 1 else f"{split}_{task}")
            own.mkdir(parents=True)
            Image.new("RGB", (64, 32)).save(own / "00_scene.png")
    return path


@pytest.fixture
def joint(tmp_path: Path) -> Path:
    run = folder_of(tmp_path / "joint", {*TASKS, "joint"})
    write_curves(run / "metrics.csv", "vqa/")
    return run


def section(page: str, anchor: str) -> str:
    return page.split(f'<section id="{anchor}">')[1].split("</section>", maxsplit=1)[0]


def heads(page: str, tag: str = "h3") -> list[str]:
    return [re.sub("<.*", "", head) for head in re.findall(f"<{tag}>(.*?)</{tag}>", page)]


def card(page: str, title: str) -> str:
    return page.split(f'<div class="card hero"><h3>{title}</h3>')[1].split('<div class="card', maxsplit=1)[0]


def test_a_joint_page_heads_every_task_by_its_name_with_its_own_number(joint: Path, tmp_path: Path) -> None:
    page = section(write_report([joint], tmp_path / "r.html").read_text("utf-8"), "numbers")
    named = [head for head in heads(page) if head in {*TASKS.values(), "Joint", "Run"}]
    assert named == ["Joint", *TASKS.values(), "Run"]
    for title, value in (
        ("Mean over tasks", "58.8"),
        ("Box AP", "71.4"),
        ("Recall@1", "81.2"),
        ("Accuracy", "55.1"),
        ("CIDEr-D", "2.346"),
    ):
        assert f">{value}</div>" in card(page, title)
    assert "of the tasks&#x27; main numbers" in page or "of the tasks' main numbers" in page


def test_a_number_stands_beside_what_can_be_had_without_looking(joint: Path, tmp_path: Path) -> None:
    page = section(write_report([joint], tmp_path / "r.html").read_text("utf-8"), "numbers")
    accuracy = card(page, "Accuracy")
    assert accuracy.index("55.1") < accuracy.index("commonest answer 33.3") < accuracy.index("commonest by kind 44.4")
    assert accuracy.index("49.0") < accuracy.index("commonest answer 32.1")  # of the other split
    assert re.search("other picture.*s caption 0.712", card(page, "CIDEr-D"))


def test_each_task_has_its_tables_and_its_kinds(joint: Path, tmp_path: Path) -> None:
    page = section(write_report([joint], tmp_path / "r.html").read_text("utf-8"), "tables")
    assert [head for head in heads(page) if head in TASKS.values()] == list(TASKS.values())
    assert "question: count" in page and "23.4" in page
    assert "people" in page and "43.2" in page
    assert "red circle" in page and "95.5" in page
    assert "17" in page.split("questions without a known answer")[1][:60]


def test_galleries_carry_the_names_of_their_tasks(joint: Path, tmp_path: Path) -> None:
    page = section(write_report([joint], tmp_path / "r.html").read_text("utf-8"), "gallery")
    wanted = [f"{title}, {split}" for title in TASKS.values() for split in ("val", "unseen")]
    assert heads(page) == wanted


def test_loss_terms_are_drawn_task_by_task(joint: Path, tmp_path: Path) -> None:
    curves = RunFolder.read(joint).curves
    assert loss_terms(curves, "train/vqa/loss") == ["train/vqa/loss", "train/vqa/answers", "train/vqa/alignment"]
    page = section(write_report([joint], tmp_path / "r.html").read_text("utf-8"), "curves")
    own = page.split("Visual question answering</h3>")[1].split("<h3>")[0]
    labels = re.findall('aria-label="([^:"]*)', own)
    assert labels[0] == "Accuracy"
    assert "commonest answer, val" in own
    assert labels[1].startswith("Training loss and its terms")
    assert labels[2] == "Answers right"
    assert "CIDEr-D, val from 2.3" in page  # as it is, not times 100


@pytest.mark.parametrize("task", TASKS)
def test_a_page_of_one_task_needs_no_task_names(task: str, tmp_path: Path) -> None:
    run = folder_of(tmp_path / "one", {task})
    page = write_report([run], tmp_path / "r.html").read_text("utf-8")
    assert not set(heads(section(page, "numbers"))) & set(TASKS.values())
    assert heads(section(page, "gallery")) == ["val", "unseen"]
    assert 'class="card hero"' in page


def test_a_share_among_the_numbers_of_a_single_run_is_no_loss_term(tmp_path: Path) -> None:
    run = tmp_path / "vqa"
    run.mkdir()
    write_curves(run / "metrics.csv", "")
    assert loss_terms(RunFolder.read(run).curves) == ["train/loss", "train/answers", "train/alignment"]


def test_runs_of_several_tasks_are_compared_task_by_task(joint: Path, tmp_path: Path) -> None:
    other = folder_of(tmp_path / "other", {"vqa"})
    page = section(write_report([joint, other], tmp_path / "r.html").read_text("utf-8"), "comparison")
    assert heads(page) == ["Joint", *TASKS.values(), "Run", "Where the configs differ"]
    answers = page.split("Visual question answering</h3>")[1].split("<h3>", maxsplit=1)[0]
    titles = re.findall(r'<button type="button">([^<]*)</button>', answers)
    assert titles == ["Run", "Accuracy, val", "Accuracy, unseen"]
    assert re.findall(r'<th scope="row">([^<]*)</th>', answers) == ["joint", "other"]
    captions = page.split("Captioning</h3>")[1].split("<h3>", maxsplit=1)[0]
    assert re.findall(r'<th scope="row">([^<]*)</th>', captions) == ["joint"]


def test_what_was_said_of_photographs_stands_below_them(tmp_path: Path) -> None:
    phrases = [
        {"phrase": "a dog", "spans": [[0, 5]], "bboxes": [[0, 0, 1, 1]], "scores": [0.81]},
        {"phrase": "a cat", "spans": [[9, 14]], "bboxes": [], "scores": []},
    ]
    records = [
        {"image_id": 1, "file_name": "a.jpg", "caption": "a dog by a cat", "phrases": phrases},
        {"image_id": 1, "file_name": "a.jpg", "question": "how many?", "answer": "two", "answers": [["two", 0.66]],
         "phrases": []},
        {"image_id": 2, "file_name": "b.jpg", "caption": "a green field", "score": 0.42},
    ]  # fmt: skip
    run = tmp_path / "run"
    (run / "predictions").mkdir(parents=True)
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
    (run / "predictions/predictions.json").write_text(json.dumps({"images": images, "annotations": records}))
    read = RunFolder.read(run)
    assert read.problems == ()
    page = section(write_report([run], tmp_path / "r.html").read_text("utf-8"), "photographs")
    for words in ("a dog 0.81", "a cat: not found", "a dog by a cat", "how many? two 0.66", "a green field 0.42"):
        assert words in page
    assert "nothing found" not in page


def test_a_task_with_masks_and_boxes_shows_the_masks_first(joint: Path) -> None:
    own = [s.measure for s in headline_scores(RunFolder.read(joint).metrics) if s.task == "instance_segmentation"]
    assert own == ["mask_ap", "box_ap"]
