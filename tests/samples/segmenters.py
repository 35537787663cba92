"""Segmenters, and the scenes they are given."""

from __future__ import annotations

import torch

from glipv2.data.collate import TrainingCollator
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.data.shapes import ShapesDataset
from glipv2.data.transforms import Example, ExampleDataset, truth_of
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.structures import (
    Instances,
    Sample,
    Vocabulary,
)
from glipv2.tasks.instance_segmentation import InstanceSegmentationConfig, InstanceSegmentationTask

NAMES = ["red circle", "blue square", "green star"]


def task_of(model: ModelConfig, loss: LossConfig | None = None, **options: str) -> InstanceSegmentationTask:
    """A seeded task in training mode."""
    torch.manual_seed(0)
    task = InstanceSegmentationConfig(**options).build(model, loss or LossConfig.grounding_only())
    assert isinstance(task, InstanceSegmentationTask)
    return task


def finding_segmenter(model_config: ModelConfig) -> InstanceSegmentationTask:
    """An untrained segmenter that finds much."""
    task = task_of(model_config).eval()
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    task.vocabulary = Vocabulary(tuple(NAMES))
    return task


def examples_of(model: ModelConfig, count: int, size: int = 64) -> list[Example]:
    samples = ShapesDataset("train", count, image_size=size, with_language=False)
    data = ExampleDataset(samples, model.pixels, None)
    return [data[index] for index in range(count)]


def blank(model: ModelConfig, count: int) -> list[Example]:
    """Pictures on which there is nothing."""
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    samples = [Sample(image, index, "blank", Instances.empty()) for index in range(count)]
    return [Example(image, sample.instances, truth_of(sample), sample) for sample in samples]


def collator(model: ModelConfig, **prompts: float) -> TrainingCollator:
    composer = PromptComposer(
        ShapesDataset("train", 1, with_language=False).vocabulary, model.tokenizer.build(), PromptConfig(**prompts)
    )
    return TrainingCollator(model.pixels, composer, with_masks=True)
