"""Claims about parts: built once, shared, and never invented for weights that lack them."""

from __future__ import annotations

import pytest
import torch

from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig, Parts
from glipv2.tasks.detection import DetectionConfig


def test_two_tasks_of_one_model_train_one_set_of_weights(model_config: ModelConfig) -> None:
    parts = Parts(model_config)
    first = DetectionConfig().assemble(parts, LossConfig.grounding_only())
    second = DetectionConfig().assemble(parts, LossConfig.grounding_only())
    assert first.core is second.core
    with torch.no_grad():
        first.regions.prior_bias += 1
    assert second.regions.prior_bias is first.regions.prior_bias


def test_heads_of_a_loss_without_weight_are_not_built(model_config: ModelConfig) -> None:
    every = DetectionConfig().build(model_config, LossConfig())
    plain = DetectionConfig().build(model_config, LossConfig.grounding_only())
    assert {name for name, _ in every.named_children()} == {"core", "regions", "contrast", "words"}
    assert {name for name, _ in plain.named_children()} == {"core", "regions"}


def test_given_modules_are_used_and_a_lacking_one_is_named(model_config: ModelConfig) -> None:
    task = DetectionConfig().build(model_config, LossConfig.grounding_only())
    parts = Parts(model_config, given=dict(task.named_children()))
    assert DetectionConfig().assemble(parts, LossConfig.grounding_only()).core is task.core
    with pytest.raises(UserError, match="no 'contrast' part"):
        DetectionConfig().assemble(parts, LossConfig())
