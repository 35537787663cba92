"""Claims about which parameters a step of each task uses: distributed training must be told."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch

from glipv2.data.shapes import ShapesDataset, answer_vocabulary
from glipv2.data.sources import ShapesData
from glipv2.data.transforms import ExampleDataset
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.tasks.base import TaskConfig
from glipv2.tasks.captioning import CaptioningConfig
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.instance_segmentation import InstanceSegmentationConfig
from glipv2.tasks.joint import JointConfig
from glipv2.tasks.phrase_grounding import PhraseGroundingConfig
from glipv2.tasks.vqa import VqaConfig
from glipv2.trainer import TrainerConfig

CONFIGS = (
    DetectionConfig(), InstanceSegmentationConfig(), PhraseGroundingConfig(), VqaConfig(),
    VqaConfig(image_reads=False), CaptioningConfig(), CaptioningConfig(grounded=True),
)  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
@pytest.mark.parametrize("loss", [LossConfig(), LossConfig.grounding_only()], ids=["glipv2", "grounding"])
def test_a_task_says_whether_a_step_leaves_parameters_unused(
    model_config: ModelConfig, config: TaskConfig, loss: LossConfig
) -> None:
    torch.manual_seed(0)
    task = config.build(model_config, loss, answer_vocabulary()).train()
    data = ShapesData(image_size=64)
    samples = ShapesDataset("train", 8, image_size=64)
    examples = [ExampleDataset(samples, task.model_config.pixels, None)[index] for index in range(8)]
    task.losses(config.collator(task.model_config, data, samples, True)(examples)).total.backward()
    unused = [name for name, parameter in task.named_parameters() if parameter.grad is None]
    assert bool(unused) == config.skips(), unused


@pytest.mark.parametrize(
    ("strategy", "skips", "looks"), [("auto", True, True), ("auto", False, False), ("ddp", True, False)]
)
def test_only_an_automatic_strategy_looks_for_unused_parameters(strategy: str, skips: bool, looks: bool) -> None:
    trainer = TrainerConfig(accelerator="cpu", devices=2, strategy=strategy).build(None, [], [], skips)
    assert isinstance(trainer.strategy, pl.strategies.DDPStrategy)
    assert trainer.strategy._ddp_kwargs.get("find_unused_parameters", False) == looks


def test_one_device_needs_no_strategy() -> None:
    trainer = TrainerConfig(accelerator="cpu", devices=1).build(None, [], [], JointConfig().skips())
    assert isinstance(trainer.strategy, pl.strategies.SingleDeviceStrategy)
