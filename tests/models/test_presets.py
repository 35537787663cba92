"""Claims about the shipped models: GLIP's have exactly the released sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from glipv2.config import config_folder
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.monitors import parameter_count
from glipv2.tasks.detection import DetectionConfig, DetectionTask

Preset = Callable[[str], ModelConfig]
UNUSED = 20_560  # the released files carry an 80-class layer that nothing reads


def on_meta(model: ModelConfig) -> DetectionTask:
    """Shapes alone: no memory, no random numbers."""
    with torch.device("meta"):
        return DetectionConfig().build(model, LossConfig.grounding_only())


@pytest.mark.parametrize(
    ("name", "released"), [("glip_t", 231_780_222), ("glip_t_a", 151_430_526), ("glip_l", 430_422_384)]
)
def test_glip_presets_have_the_released_number_of_parameters(preset: Preset, name: str, released: int) -> None:
    assert parameter_count(on_meta(preset(name))) == released - UNUSED


def test_swin_t_with_its_pyramid_has_the_released_number_of_parameters(preset: Preset) -> None:
    with torch.device("meta"):
        assert parameter_count(preset("glip_t").image.build()) == 30_815_738


@pytest.mark.parametrize("path", sorted((config_folder() / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_builds_and_carries_its_own_name(preset: Preset, path: Path) -> None:
    model = preset(path.stem)
    assert model.name == path.stem
    task = on_meta(model)
    frozen = {parameter for norm in task.core.image.frozen_norms for parameter in norm.parameters()}
    assert bool(frozen) == model.image.frozen_batch_norm
    assert all(parameter.requires_grad == (parameter not in frozen) for parameter in task.parameters())


@pytest.mark.parametrize("name", ["glip_t", "glip_t_a", "glip_l"])
def test_glip_presets_see_pixels_as_the_released_weights_want_them(preset: Preset, name: str) -> None:
    model = preset(name)
    assert model.pixels.bgr
    assert model.pixels.mean == [103.53, 116.28, 123.675]  # blue first
    assert (model.pixels.short_side, model.pixels.max_long_side, model.tokenizer.max_tokens) == (800, 1333, 256)
