"""Claims about plans: what is counted on shapes is what a step really keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from glipv2.activations import Kept
from glipv2.config import TrainConfig
from glipv2.errors import UserError
from glipv2.models import ModelConfig
from glipv2.planning.command import plan
from glipv2.planning.footprint import part_sizes, planned_task, standing_bytes
from glipv2.planning.largest import largest_batches
from glipv2.planning.standins import ImaginedCore

Compose = Callable[[Sequence[str]], TrainConfig]


@pytest.mark.parametrize("name", ["detection", "captioning"])
def test_bytes_counted_on_shapes_are_those_of_a_real_step(
    name: str, compose: Compose, model_config: ModelConfig
) -> None:
    config = replace(compose([f"task={name}", "data.image_size=64"]), model=model_config)
    (batch,) = largest_batches(config)
    torch.manual_seed(0)
    real = config.task.build(model_config, config.loss).train()
    kept = Kept(real)
    with kept.counting():
        real.losses(batch.of(2))
    task = planned_task(config, ())
    core = ImaginedCore(task.core, "cpu", "32-true")  # type: ignore[arg-type]
    with core.counting(task):
        task.losses(batch.of(2))
    assert core.kept.bytes == pytest.approx(kept.bytes, rel=0.03)
    assert kept.bytes > 2**20


def test_half_precision_keeps_less_though_no_gpu_is_there(compose: Compose, model_config: ModelConfig) -> None:
    config = replace(compose(["task=detection", "data.image_size=64"]), model=model_config)
    (batch,) = largest_batches(config)
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        core = ImaginedCore((task := planned_task(config, ())).core, "cuda", precision)  # type: ignore[arg-type]
        with core.counting(task):
            levels = task.core.image(batch.of(1).images.pixels)  # type: ignore[operator]
        found[precision] = levels[0].dtype
    assert found == {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}


def test_pictures_have_the_longest_form_that_the_model_takes(compose: Compose, model_config: ModelConfig) -> None:
    (batch,) = largest_batches(replace(compose(["data.image_size=64"]), model=model_config))
    assert batch.sides == (64, 128)


def test_frozen_parts_have_no_gradients_and_no_moments(compose: Compose, model_config: ModelConfig) -> None:
    full = replace(compose([]), model=model_config)
    linear = replace(compose(["tune=linear"]), model=model_config)
    sizes = {own.name: own for own in part_sizes(planned_task(linear, ()))}
    assert sizes["text encoder"].trained == 0
    assert sizes["head: regions"].trained == sizes["head: regions"].parameters > 0
    frozen = sum(own.parameters - own.trained for own in sizes.values())
    both = [standing_bytes(planned_task(config, ()), config) for config in (full, linear)]
    assert both[0] - both[1] == 3 * 4 * frozen


def test_a_precision_that_can_not_be_planned_is_refused() -> None:
    with pytest.raises(UserError, match="can plan 32-true, bf16-mixed, 16-mixed"):
        list(plan(["trainer.precision=64-true"]))
