"""Claims about what is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.structures import ImageBatch, TextBatch
from glipv2.tasks.detection import DetectionConfig, DetectionTask
from glipv2.tune import (
    LinearTuneConfig,
    LoraTuneConfig,
    PromptTuneConfig,
    TuneConfig,
    plain_weights,
    trainable_parameters,
)

TEXT = TextBatch(torch.tensor([[2, 30, 31, 5, 3]]), torch.ones(1, 5, dtype=torch.bool))


def built(model: ModelConfig, tune: TuneConfig) -> DetectionTask:
    torch.manual_seed(0)
    task = DetectionConfig().build(tune.prepared(model), LossConfig.grounding_only())
    assert isinstance(task, DetectionTask)
    return task


def logits(task: DetectionTask) -> Tensor:
    torch.manual_seed(1)
    images = ImageBatch(torch.randn(1, 3, 64, 64), torch.tensor([[64, 64]]))
    with torch.no_grad():
        return task.eval().regions(task.core(images, TEXT).after).alignment_logits  # type: ignore[no-any-return]


def trained(task: DetectionTask) -> set[str]:
    return {name for name, parameter in task.named_parameters() if parameter.requires_grad}


def test_full_trains_everything(model_config: ModelConfig) -> None:
    task = built(model_config, TuneConfig())
    TuneConfig().apply(task)
    assert trained(task) == {name for name, _ in task.named_parameters()}


def test_linear_trains_the_heads_alone_and_keeps_norms_still(model_config: ModelConfig) -> None:
    task = built(model_config, LinearTuneConfig())
    LinearTuneConfig().apply(task)
    assert trained(task) == {name for name, _ in task.named_parameters() if name.startswith("regions.")}
    task.train()
    assert task.regions.training
    assert not any(module.training for module in task.core.modules())
    task.eval().train()
    assert not task.core.image.backbone.training


def test_prompt_offsets_start_without_effect_and_are_all_that_is_trained(model_config: ModelConfig) -> None:
    tune = PromptTuneConfig(tokens=8)
    task, plain = built(model_config, tune), built(model_config, TuneConfig())
    task.load_state_dict(plain.state_dict(), strict=False)
    tune.apply(task)
    assert trained(task) == {"core.text.offsets"}
    assert_close(logits(task), logits(plain))
    with torch.no_grad():
        task.core.text.offsets[1] += torch.randn(32)  # type: ignore[index, operator]
    changed = (logits(task) - logits(plain)).abs().amax(dim=(0, 1))
    assert changed[1] > 1e-3


def test_prompts_longer_than_the_offsets_still_work(model_config: ModelConfig) -> None:
    tune = PromptTuneConfig(tokens=3)
    assert torch.isfinite(logits(built(model_config, tune))).all()


def test_prompt_tuning_refuses_names_that_change_places() -> None:
    with pytest.raises(UserError, match="keep their places"):
        PromptTuneConfig().check(shuffled_prompts=True)
    PromptTuneConfig().check(shuffled_prompts=False)


def test_low_rank_updates_start_without_effect_learn_and_merge_into_a_plain_model(model_config: ModelConfig) -> None:
    tune = LoraTuneConfig(rank=2)
    task, plain = built(model_config, tune), built(model_config, TuneConfig())
    tune.apply(task)
    names = trained(task)
    assert all(name.startswith("regions.") or name.endswith((".down", ".up")) for name in names)
    assert any("core.fusion" in name for name in names)
    assert_close(logits(task), logits(plain))
    with torch.no_grad():
        for name, parameter in task.named_parameters():
            if name.endswith(".up"):
                parameter.add_(0.05 * torch.randn_like(parameter))
    before = logits(task)
    assert (before - logits(plain)).abs().max() > 1e-3
    tune.merge(task)
    assert set(task.state_dict()) == set(plain.state_dict())
    assert_close(logits(task), before)


def test_a_checkpoint_of_low_rank_updates_holds_the_weights_that_are_left_at_the_end(model_config: ModelConfig) -> None:
    tune = LoraTuneConfig(rank=2, alpha=3.0)
    task = built(model_config, tune)
    plain = set(task.state_dict())
    tune.apply(task)
    with torch.no_grad():
        for name, parameter in task.named_parameters():
            if name.endswith((".up", ".down")):
                parameter.normal_()
    found = plain_weights(task.state_dict())
    tune.merge(task)
    assert set(found) == plain
    for name, tensor in task.state_dict().items():
        assert_close(found[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("tune", "message"),
    [(LoraTuneConfig(modules=["core.txt"]), "no linear map")],
)
def test_low_rank_updates_of_nothing_are_refused(model_config: ModelConfig, tune: LoraTuneConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tune.apply(built(model_config, tune))


def test_the_summary_names_what_is_trained(model_config: ModelConfig) -> None:
    task = built(model_config, LinearTuneConfig())
    LinearTuneConfig().apply(task)
    assert "regions.box_deltas" in trainable_parameters(task)


@pytest.mark.parametrize("name", ["full", "linear", "prompt", "lora"])
def test_every_way_of_tuning_is_a_choice(compose: Callable[[list[str]], object], name: str) -> None:
    config = compose([f"tune={name}"])
    assert replace(config.tune).name == name  # type: ignore[attr-defined]
