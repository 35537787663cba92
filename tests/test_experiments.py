"""Claims about what ships: every experiment and every preset composes and builds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import hydra
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from glipv2.config import (
    EvaluateConfig,
    PredictConfig,
    TrainConfig,
    check_pair,
    config_folder,
    experiment_files,
    from_plain,
    known_keys,
    register_schemas,
    to_plain,
    typed,
)
from glipv2.models import ModelConfig
from glipv2.train import build_task

Compose = Callable[[Sequence[str]], TrainConfig]
EXPERIMENTS = experiment_files()
PRESETS = [
    (folder.name, path.stem)
    for folder in sorted(config_folder().iterdir())
    if folder.is_dir() and folder.name != "hydra"
    for path in sorted(folder.glob("*.yaml"))
]


def buildable(config: TrainConfig, without_hub: Callable[[ModelConfig], ModelConfig]) -> TrainConfig:
    """The config without what has to be fetched or was trained before."""
    return replace(config, model=without_hub(config.model), weights=None)


def test_there_is_something_to_test() -> None:
    assert "shapes_detection_nano" in EXPERIMENTS
    assert ("model", "glip_t") in PRESETS


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_experiment_composes_checks_and_builds(
    name: str, compose: Compose, offline: Callable[[ModelConfig], ModelConfig]
) -> None:
    config = compose([f"experiment={name}"])
    config.check()
    with torch.device("meta"):
        task = build_task(buildable(config, offline), answers=("yes", "no"))
    assert task.config.name == config.task.name
    assert sum(parameter.numel() for parameter in task.parameters()) > 10_000


@pytest.mark.parametrize("task", sorted(name for group, name in PRESETS if group == "task"))
def test_any_task_takes_the_place_of_the_joint_one(task: str, compose: Compose) -> None:
    config = compose(["experiment=shapes_joint_nano", f"task={task}"])
    config.check()
    assert config.task.name in task


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_experiment_says_what_it_asks_and_how_it_is_run(name: str) -> None:
    text = EXPERIMENTS[name].read_text("utf-8")
    header = text[: text.index("defaults:")]
    assert re.search(r"^# Question: +\S", header, re.MULTILINE)
    assert f"glipv2 train experiment={name}" in header
    assert re.search(r"^# Hardware: +\S", header, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_an_experiment_carries_its_name_into_its_run_folder(name: str, compose: Compose) -> None:
    config = compose([f"experiment={name}"])
    assert config.name == name
    assert re.fullmatch(rf"runs/{config.name}/\d{{4}}-\d\d-\d\d_\d\d-\d\d-\d\d", config.output)


@pytest.mark.parametrize(("group", "name"), PRESETS, ids=[f"{group}={name}" for group, name in PRESETS])
def test_every_preset_composes(group: str, name: str, compose: Compose) -> None:
    if group == "protocol":  # of evaluations alone
        register_schemas()
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = hydra.compose("evaluate", [f"protocol={name}", "weights=x"])
        assert isinstance(typed(config, EvaluateConfig), EvaluateConfig)
        return
    shuffled = ["data.prompts.shuffle=false"] if name == "prompt" else []
    assert isinstance(compose([f"{group}={name}", *shuffled]), TrainConfig)


def test_a_config_comes_back_from_plain_values(compose: Compose) -> None:
    config = compose(["model=glip_t_a"])
    plain = yaml.safe_load(OmegaConf.to_yaml(to_plain(config)))
    assert from_plain(ModelConfig, plain["model"], "here") == config.model


@pytest.mark.parametrize(("command", "schema"), [("evaluate", EvaluateConfig), ("predict", PredictConfig)])
def test_the_other_commands_compose(command: str, schema: type) -> None:
    register_schemas()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = hydra.compose(command)
    assert OmegaConf.get_type(config) is schema


def test_overrides_reach_every_part(compose: Compose) -> None:
    config = compose(["model.image.width=64", "data.prompts.max_names=3", "+trainer.options.deterministic=true"])
    assert (config.model.image.width, config.data.prompts.max_names) == (64, 3)
    assert config.trainer.options == {"deterministic": True}
    assert type(config.trainer.options) is dict  # nothing of OmegaConf stays


def test_hints_know_every_key_of_every_part() -> None:
    keys = known_keys(TrainConfig)
    for key in (
        "optim.lr",
        "data.prompts.max_names",
        "data.augment.flip",
        "task.selection.iou_threshold",
        "experiment",
    ):
        assert key in keys
    assert "images" in known_keys(PredictConfig)
    assert "data.image_size" in known_keys(EvaluateConfig)
    assert not {"images", "task.selection.iou_threshold"} & set(known_keys(EvaluateConfig))


def test_every_shipped_pairing_can_work(compose: Compose) -> None:
    for data in ("shapes", "coco"):
        config = compose([f"data={data}"])
        check_pair(config.task, config.data)  # raises where it can't
        assert config.task.needs <= config.data.provides
