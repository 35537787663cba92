"""Claims about trackers: what they are given, and that a run does not end by them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from PIL import Image

from glipv2.config import TrainConfig
from glipv2.curves_file import read_rows
from glipv2.errors import UserError
from glipv2.trackers import WandbTracker, on_equal_canvases, parted
from glipv2.tracking import Label, TrackingConfig, end_tracking, label_of, log_facts, log_files, log_pictures
from glipv2.train import train

LABEL = Label("trial", "sweep")
TINY = [
    "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1", "data.workers=0", "gallery=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]", "data.image_size=64",
    "data.batch_size=2", "data.eval_scenes=2", "trainer.accelerator=cpu", "trainer.log_every=1",
    "trainer.max_steps=2", "trainer.progress=false",
]  # fmt: skip


class BrokenRun:
    """A W&B run of which every call fails."""

    id, project, entity, name, url = "abc", "p", None, "n", None
    config = summary = SimpleNamespace(update=lambda *_, **__: 1 / 0)

    def __init__(self) -> None:
        self.calls = 0

    def define_metric(self, *_: Any, **__: Any) -> None:
        """Goes well: the run has begun."""

    def log(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        raise ConnectionError("gone")

    log_artifact = finish = log


def raises(*_: Any, **__: Any) -> None:
    raise wandb.errors.CommError("no such host\nand more")


# Failing


def test_a_tracker_that_can_not_start_leaves_the_csv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb, "init", raises)
    for mode in ("offline", "online"):
        (logger,) = TrackingConfig(mode=mode).build(tmp_path, LABEL, {})
        logger.log_metrics({"train/loss": 1.0}, 0)
        logger.save()
        assert read_rows(tmp_path / "metrics.csv") == [{"step": "0", "train/loss": "1.0"}]
    assert "tracking=offline could not start (no such host and more)" in caplog.text


def test_a_folder_that_can_not_be_written_to_leaves_the_csv_file(tmp_path: Path) -> None:
    (tmp_path / "wandb").write_text("a file where the tracker's folder would be")
    assert len(TrackingConfig().build(tmp_path, LABEL, {})) == 1
    (tmp_path / "tensorboard").write_text("the same")
    assert len(TrackingConfig(mode="tensorboard").build(tmp_path, LABEL, {})) == 1


def test_a_service_that_can_not_be_reached_is_replaced_by_files_to_send_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    modes = []

    def init(mode: str, **_: Any) -> BrokenRun:
        modes.append(mode)
        return raises() or BrokenRun() if mode == "online" else BrokenRun()

    monkeypatch.setattr(wandb, "init", init)
    assert len(TrackingConfig(mode="online").build(tmp_path, LABEL, {})) == 2
    assert modes == ["online", "offline"]
    assert "later: wandb sync" in caplog.text


def test_a_tracker_that_fails_is_told_once_and_left_alone_after_three_times(caplog: pytest.LogCaptureFixture) -> None:
    run = BrokenRun()
    tracker = WandbTracker(run)  # type: ignore[arg-type]
    for step in range(10):
        tracker.log_metrics({"train/loss": 1.0}, step)
    assert run.calls == 3
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "Weights & Biases: a step failed (ConnectionError: gone); going on, metrics.csv has all numbers",
        "Weights & Biases failed 3 times in a row and is left alone from here on",
    ]


@pytest.mark.slow
def test_training_goes_on_to_its_end_with_a_tracker_that_always_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Callable[[Sequence[str]], TrainConfig]
) -> None:
    monkeypatch.setattr(wandb, "init", lambda **_: BrokenRun())
    config = compose([*TINY, "tracking=offline", "tracking.checkpoints=true"])
    scores = train(config, tmp_path / "run")
    assert scores["run/steps"] == 2
    rows = [row for row in read_rows(tmp_path / "run/metrics.csv") if row["train/loss"]]
    assert [row["step"] for row in rows] == ["0", "1"]
    assert all(float(row["gradients/all"]) > 0 and float(row["time/images_per_second"]) > 0 for row in rows)
    assert all(0 <= float(row["time/data_wait"]) <= 1 for row in rows)
    facts = json.loads((tmp_path / "run/facts.json").read_text())
    assert facts["data"]["sets"]["val"]["images"] == 2
    assert sum(part["parameters"] for part in facts["model"].values()) == scores["run/parameters"]


# Names


def test_trials_are_called_by_what_is_swept_over_and_grouped_by_their_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep_1"
    sweep.mkdir()
    (sweep / "multirun.yaml").write_text(
        "hydra:\n  overrides:\n    task: ['optim.lr=tag(log,interval(1e-4,1e-2))', 'model=nano,small', 'seed=3']\n"
    )
    words = ["glipv2", "train", "optim.lr=0.0012345678", "model=small", "seed=3"]
    assert label_of("shapes", sweep / "7", words) == Label("7 lr=0.00123 model=small", "shapes/sweep_1")


def test_single_runs_are_called_by_their_folder_and_grouped_by_their_experiment() -> None:
    assert label_of("shapes", Path("runs/shapes/2026-01-02")) == Label("shapes/2026-01-02", "shapes")
    assert label_of("demo", Path("runs/demo")) == Label("demo", "demo")


# What arrives


def test_a_run_that_goes_on_keeps_its_identity(tmp_path: Path) -> None:
    ids = []
    for steps in (0, 5):
        _, tracker = TrackingConfig().build(tmp_path, LABEL, {"seed": 1}, steps)
        ids.append(tracker.run.id)  # type: ignore[attr-defined]
        end_tracking([tracker])
    assert ids[0] == ids[1] == json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


def test_numbers_of_classes_come_as_a_table_a_task_and_split() -> None:
    plain, tables = parted({
        "train/loss": 1.5, "detection/box_ap": 0.4, "detection/box_ap/a cup": 0.3, "detection/unseen/box_ap/a/b": 0.1,
        "instance_segmentation/mask_ap/cup": 0.2, "instance_segmentation/box_ap/cup": 0.25, "time/data_wait": 0.5,
    })  # fmt: skip
    assert plain == {"train/loss": 1.5, "detection/box_ap": 0.4, "time/data_wait": 0.5}
    assert tables == {
        "tables/detection": [["name", "box_ap"], ["a cup", 0.3]],
        "tables/detection/unseen": [["name", "box_ap"], ["a/b", 0.1]],
        "tables/instance_segmentation": [["name", "mask_ap", "box_ap"], ["cup", 0.2, 0.25]],
    }


def test_tensorboard_is_given_the_numbers_of_the_csv_file_and_the_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = TrackingConfig(mode="tensorboard").build(tmp_path, LABEL, {"optim": {"lr": 0.1}})
    for step in range(3):
        for logger in loggers:
            logger.log_metrics({"train/loss": 1.0 / (step + 1), "detection/box_ap/cup": 0.5}, step)
    log_pictures(loggers, "gallery/val", [Image.new("RGB", (8, 4)), Image.new("RGB", (4, 8))], 2)
    log_facts(loggers, {"skipped": 3})
    log_files(loggers, "model", [tmp_path / "not_there"])
    end_tracking(loggers)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [
        (0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3)),
    ]  # fmt: skip
    assert events.Tags()["scalars"] == ["train/loss"]
    assert events.Tags()["images"] == ["gallery/val"]
    table = events.Tensors("tables/detection/text_summary")[0].tensor_proto.string_val[0]
    assert table == b"name | box_ap\n--- | ---\ncup | 0.5"


def test_tensorboard_without_its_package_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glipv2.tracking.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install \"glipv2\[tensorboard\]\""):
        TrackingConfig(mode="tensorboard").check()


def test_a_tracker_off_is_the_csv_file_alone(tmp_path: Path) -> None:
    assert len(TrackingConfig(mode="off").build(tmp_path, LABEL, {})) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_gallery_has_pictures_of_one_size_and_loses_no_pixel() -> None:
    wide, high = Image.new("RGB", (30, 10), "red"), Image.new("RGB", (12, 20), "blue")
    first, second = on_equal_canvases([wide, high])
    assert first.size == second.size == (30, 20)
    assert first.crop((0, 0, 30, 10)).tobytes() == wide.tobytes()
    assert second.crop((0, 0, 12, 20)).tobytes() == high.tobytes()
    assert first.getpixel((5, 15)) == second.getpixel((20, 5)) == (255, 255, 255)


def test_an_empty_gallery_stays_empty() -> None:
    assert on_equal_canvases([]) == []


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="glipv2")
