"""Claims about several tasks trained as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from glipv2 import load
from glipv2.data.sources import ShapesData
from glipv2.errors import UserError
from glipv2.evaluate import open_data
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.structures import DetectionBatch
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.joint import TASKS, JointConfig, JointTask

ANSWERS = ("yes", "no", "red")
TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]",
    "data=shapes", "data.image_size=64", "data.batch_size=2", "data.eval_batch_size=4", "data.workers=0",
    "data.eval_scenes=4", "trainer.accelerator=cpu", "trainer.log_every=1", "tracking=off",
)  # fmt: skip


@pytest.fixture
def joint(model_config: ModelConfig) -> JointTask:
    """All five tasks on a tiny model."""
    torch.manual_seed(0)
    task = JointConfig().build(model_config, LossConfig(), ANSWERS)
    assert isinstance(task, JointTask)
    return task


def test_all_tasks_share_one_core_and_their_heads(joint: JointTask) -> None:
    tasks = joint.subtasks()
    assert tuple(tasks) == TASKS
    assert all(task.core is joint.core for task in tasks.values())
    assert all(task.regions is joint.regions for name, task in tasks.items() if name not in ("vqa", "captioning"))
    names = [name for name, _ in joint.named_parameters()]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith(TASKS)]


@pytest.mark.parametrize("name", TASKS)
def test_every_tensor_of_a_single_task_has_its_place_in_the_joint_one(
    joint: JointTask, model_config: ModelConfig, name: str
) -> None:
    single = JointConfig().streams()[name].task.build(model_config, LossConfig(), ANSWERS)
    shapes = {key: value.shape for key, value in joint.state_dict().items()}
    assert {key: value.shape for key, value in single.state_dict().items()}.items() <= shapes.items()


def test_a_task_without_weight_is_not_built(model_config: ModelConfig) -> None:
    weights = {**dict.fromkeys(TASKS, 1.0), "vqa": 0.0, "instance_segmentation": 0.0}
    task = JointConfig(weights=weights).build(model_config, LossConfig(), ANSWERS)
    assert set(task.subtasks()) == {"detection", "phrase_grounding", "captioning"}
    assert "answers" not in dict(task.named_children())


def test_a_joint_task_of_one_task_knows_whose_its_batches_are(model_config: ModelConfig) -> None:
    config = JointConfig(weights={**dict.fromkeys(TASKS, 0.0), "detection": 1.0})
    shapes = ShapesData(image_size=64, train_scenes=4, eval_scenes=4, batch_size=2, workers=0)
    batch = next(iter(open_data(config, model_config, shapes, train=True, split="val").first_batches(1)))
    assert batch.task == "detection"
    report = config.build(model_config, LossConfig()).losses(batch)
    assert report.report["detection/loss"].isfinite()
    alone = open_data(DetectionConfig(), model_config, shapes, train=True, split="val").first_batches(1)
    assert isinstance(next(iter(alone)), DetectionBatch)


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"detektion": 1.0}, "did you mean 'detection'"), (dict.fromkeys(TASKS, 0.0), "every weight is 0")],
)
def test_weights_that_train_nothing_known_are_refused(
    model_config: ModelConfig, weights: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        JointConfig(weights=weights).build(model_config, LossConfig(), ANSWERS)


def test_the_mean_counts_each_task_relative_to_its_best(joint: JointTask) -> None:
    scores = {task.config.monitor: 0.5 * task.config.best for task in joint.subtasks().values()}
    assert joint.summary(scores) == {"joint/mean": pytest.approx(0.5)}


@pytest.mark.slow
def test_two_processes_train_all_tasks_together(tmp_path: Path) -> None:
    words = (*TINY, "task=joint", "loss=glipv2", "trainer.max_steps=8", "trainer.devices=2", "output=run")
    ended = subprocess.run(
        [sys.executable, "-m", "glipv2.cli", "train", *words],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "MEMBER: 2/2" in ended.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["run/steps"] == 8
    assert all(stream.task.monitor in metrics for stream in JointConfig().streams().values())


@pytest.mark.slow
def test_a_joint_run_trains_all_tasks_scores_all_and_its_weights_do_all(
    tmp_path: Path, glipv2: Callable[..., Any]
) -> None:
    ended = glipv2(tmp_path, "train", *TINY, "task=joint", "loss=glipv2", "trainer.max_steps=12", "output=run")
    assert ended.code == 0, ended.err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    for name, task in JointConfig().streams().items():
        assert task.task.monitor in metrics, name
        assert (tmp_path / f"run/predictions/val_{name}.json").is_file()
    assert "joint/mean" in metrics
    again = glipv2(
        tmp_path, "evaluate", "weights=run", "data=shapes", "data.image_size=64", "data.eval_scenes=4",
        "data.workers=0", "trainer.accelerator=cpu", "output=again",
    )  # fmt: skip
    assert again.code == 0, again.err
    scores = json.loads((tmp_path / "again/metrics.json").read_text())
    for stream in JointConfig().streams().values():
        assert scores[stream.task.monitor] == pytest.approx(metrics[stream.task.monitor], abs=1e-4)
    model = load(tmp_path / "run", device="cpu")
    picture = torch.full((3, 80, 96), 90, dtype=torch.uint8)
    assert model.detect(picture, ["red circle"]).image_size == (80, 96)
    assert model.segment(picture, ["red circle"]).image_size == (80, 96)
    assert model.caption(picture).image_size == (80, 96)
    assert model.answer(picture, "is there a red circle?").image_size == (80, 96)
    assert model.ground(picture, "a red circle").image_size == (80, 96)
