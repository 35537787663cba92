"""Claims about checkpoints: a file alone rebuilds its model, wherever its parts once came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glipv2.checkpoints import read_checkpoint, record_of, save_weights
from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.text import TextEncoderConfig
from glipv2.structures import Vocabulary
from glipv2.tasks.detection import DetectionConfig, DetectionTask

NAMES = Vocabulary(("cup", "dog"))


def saved(path: Path, task: DetectionTask) -> Path:
    save_weights(path, task.state_dict(), record_of(task.model_config, task.config, NAMES))
    return path


def same(first: DetectionTask, second: Any) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())


def test_a_text_encoder_that_came_from_a_folder_is_rebuilt_without_it(
    model_config: ModelConfig, tmp_path: Path
) -> None:
    wide = {**model_config.text.options, "hidden_size": 48, "num_hidden_layers": 2, "vocab_size": 800}
    folder = tmp_path / "encoder"
    TextEncoderConfig(options=wide).build(763).model.save_pretrained(folder)
    text = TextEncoderConfig(weights=str(folder))  # as in the preset `small`: its config is the folder's
    fusion = replace(model_config.fusion, text_heads=2)
    task = DetectionConfig().build(replace(model_config, text=text, fusion=fusion), LossConfig.grounding_only())
    path = saved(tmp_path / "weights.safetensors", task)
    for file in folder.iterdir():
        file.unlink()
    rebuilt = read_checkpoint(path).build()
    assert same(task, rebuilt)
    assert rebuilt.model_config.text.options["vocab_size"] == 800


def test_a_text_encoder_of_another_architecture_than_configured_is_rebuilt_too(
    compose: Callable[[list[str]], Any], model_config: ModelConfig, tmp_path: Path
) -> None:
    nano = compose(["model=nano"]).model.text
    TextEncoderConfig(nano.architecture, nano.options).build(763).model.save_pretrained(tmp_path / "encoder")
    text = TextEncoderConfig(weights=str(tmp_path / "encoder"))
    task = DetectionConfig().build(replace(model_config, text=text), LossConfig.grounding_only())
    checkpoint = read_checkpoint(saved(tmp_path / "weights.safetensors", task))
    assert checkpoint.model.text.architecture == "modernbert"
    assert same(task, checkpoint.build())


def test_the_size_of_the_embedding_stands_in_the_record(task: DetectionTask, tmp_path: Path) -> None:
    options = read_checkpoint(saved(tmp_path / "weights.safetensors", task)).model.text.options
    assert options == {**task.model_config.text.options, "vocab_size": 763}


def test_weights_are_read_from_an_address(task: DetectionTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "weights.safetensors", task)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(path))
    assert same(task, read_checkpoint("hf://someone/glip/weights.safetensors").build())
    assert (tmp_path / "weights.safetensors.sha256").is_file()


def test_an_evaluation_of_an_address_leaves_nothing_in_the_hubs_cache(
    glipv2: Callable[..., Any], task: DetectionTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    path = saved(cache / "weights.safetensors", task)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: str(path))
    words = ("data=shapes", "data.image_size=64", "data.eval_scenes=1", "data.workers=0", "trainer.accelerator=cpu")
    ended = glipv2(tmp_path, "evaluate", "weights=hf://someone/glip/weights.safetensors", *words)
    assert ended.code == 0, ended.err
    assert sorted(file.name for file in cache.iterdir()) == ["weights.safetensors", "weights.safetensors.sha256"]
    assert json.loads((tmp_path / "evaluation/val/metrics.json").read_text())


def test_a_released_file_that_lacks_tensors_is_refused_where_it_is_used(cut_glip: Any, tmp_path: Path) -> None:
    tensors = cut_glip.tensors()
    tensors.pop("rpn.head.bias_lang")
    torch.save({"model": tensors}, tmp_path / "glip.pth")
    with pytest.raises(UserError, match=r"glip\.pth: these weights don't fit.*1 not in the file \(regions\.word_bias"):
        read_checkpoint(tmp_path / "glip.pth").build()


def test_a_file_that_lost_its_description_says_so(task: DetectionTask, tmp_path: Path) -> None:
    torch.save(task.state_dict(), tmp_path / "plain.pth")
    with pytest.raises(UserError, match="a checkpoint of this project whose description is lost"):
        read_checkpoint(tmp_path / "plain.pth")


def test_weights_can_be_read_by_whoever_can_read_other_new_files(task: DetectionTask, tmp_path: Path) -> None:
    record = record_of(task.model_config, task.config, Vocabulary(("cup",)))
    save_weights(tmp_path / "a.safetensors", task.state_dict(), record)
    (tmp_path / "other").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
