"""Claims about what is said of weights before and after fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glipv2.config import EvaluateConfig
from glipv2.errors import UserError
from glipv2.evaluate import numbers_folder
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.retention import comparable, retained, retention_rows
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.joint import JointConfig
from glipv2.tasks.phrase_grounding import PhraseGroundingConfig

TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]",
    "data=shapes", "data.image_size=64", "data.batch_size=2", "data.workers=0", "data.eval_scenes=4",
    "trainer.accelerator=cpu", "trainer.max_steps=2", "tracking=off", "gallery=0",
)  # fmt: skip
SCENES = ("data=shapes", "data.image_size=64", "data.eval_scenes=4", "data.workers=0", "trainer.accelerator=cpu")


def test_a_share_is_after_over_before_where_there_was_something_to_keep() -> None:
    numbers = retained({"a": 0.8, "b": 0.0, "c": -1.0, "gone": 1.0}, {"a": 0.6, "b": 0.1, "c": 0.5, "new": 1.0})
    assert numbers == {
        "a": {"before": 0.8, "after": 0.6, "kept": pytest.approx(0.75)},
        "b": {"before": 0.0, "after": 0.1},
        "c": {"before": -1.0, "after": 0.5},
    }
    assert retention_rows(numbers, ["b", "a", "gone"]) == [
        ["number", "before", "after", "kept"],
        ["b", "0.0000", "0.1000", "–"],
        ["a", "0.8000", "0.6000", "75.0 %"],
    ]


@pytest.mark.parametrize(
    ("weights", "file", "folder"),
    [
        ("runs/a", "runs/a/weights.safetensors", "runs/a/evaluation/val"),
        ("builtin", "site-packages/glipv2/builtin/weights.safetensors", "evaluation/val"),
        ("hf://ada/stars", "cache/weights.safetensors", "evaluation/val"),
    ],
)
def test_numbers_go_beside_weights_that_are_the_users_own(weights: str, file: str, folder: str) -> None:
    assert numbers_folder(EvaluateConfig(weights=weights), Path(file)) == Path(folder)
    assert numbers_folder(EvaluateConfig(weights=weights, output="here"), Path(file)) == Path("here")


def test_weights_with_no_number_in_common_are_refused(model_config: ModelConfig) -> None:
    grounder = PhraseGroundingConfig().build(model_config, LossConfig())
    detector = DetectionConfig().build(model_config, LossConfig())
    with pytest.raises(UserError, match=r"before=old.*phrase_grounding, the others for detection.*protocol="):
        comparable(grounder, detector, "old")
    both = JointConfig(weights={"detection": 1.0, "phrase_grounding": 1.0}).build(model_config, LossConfig())
    measured = comparable(both, detector, "old")  # its data need not have phrases
    assert list(measured.subtasks()) == ["detection"]
    assert measured.get_submodule("core") is both.get_submodule("core")
    assert comparable(detector, both, "old") is detector


@pytest.mark.slow
def test_evaluate_measures_both_and_says_what_was_kept(tmp_path: Path, glipv2: Callable[..., Any]) -> None:
    ended = glipv2(tmp_path, "train", *TINY, "output=run")
    assert ended.code == 0, ended.err
    words = ("weights=run", "before=run/weights.safetensors", *SCENES, "output=out", "gallery=0")
    ended = glipv2(tmp_path, "evaluate", *words)
    assert ended.code == 0, ended.err
    numbers = json.loads((tmp_path / "out/retention.json").read_text())
    after = json.loads((tmp_path / "out/metrics.json").read_text())
    before = json.loads((tmp_path / "out/before/metrics.json").read_text())
    assert after == before
    assert {name: own["after"] for name, own in numbers.items()} == after
    assert "kept" in ended.out and "detection/box_ap" in ended.out
