"""Captioners that were never trained, and what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from glipv2.data.shapes import ShapesDataset
from glipv2.data.sources import ShapesData
from glipv2.data.transforms import ExampleDataset
from glipv2.inference import Predictor
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.generation import GenerationConfig
from glipv2.structures import TextBatch, TextQueryBatch
from glipv2.structures.grounded import ImageCaption
from glipv2.tasks.captioning import CaptioningConfig, CaptioningTask

WINDOWED = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 256,
    "local_attention": 4,
    "layer_types": ["sliding_attention", "sliding_attention"],
    "pad_token_id": 0,
}
TEXT_ENCODERS = ("bert eager", "bert sdpa", "modernbert", "windowed modernbert")
SIZES = ((64, 96), (64, 64), (50, 90), (64, 40))


def built(model: ModelConfig, **settings: object) -> CaptioningTask:
    """A seeded captioner that was never trained."""
    torch.manual_seed(0)
    task = CaptioningConfig(**settings).build(model, LossConfig.grounding_only()).eval()  # type: ignore[arg-type]
    assert isinstance(task, CaptioningTask)
    for parameter in task.core.text.parameters():  # so that words matter from the start
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return task


def with_text(model: ModelConfig, kind: str) -> ModelConfig:
    """The model with another text encoder."""
    if kind == "windowed modernbert":
        return replace(model, text=replace(model.text, architecture="modernbert", options=WINDOWED))
    if kind == "modernbert":
        options = {**WINDOWED, "layer_types": ["full_attention", "sliding_attention"]}
        return replace(model, text=replace(model.text, architecture="modernbert", options=options))
    implementation = kind.split()[1]
    return replace(
        model, text=replace(model.text, options={**model.text.options, "attn_implementation": implementation})
    )


def plain_captioner(model_config: ModelConfig) -> CaptioningTask:
    """One captioner."""
    return built(model_config, generation=GenerationConfig(beams=3, max_length=8))


def pictures(sizes: Sequence[tuple[int, int]] = SIZES) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randint(256, (3, *size), generator=rng, dtype=torch.uint8) for size in sizes]


def levels_of(task: CaptioningTask, count: int = 2) -> tuple[Tensor, ...]:
    images = task.model_config.pixels.batch(pictures([(64, 64)] * count))
    return task.core.image(images.pixels)  # type: ignore[no-any-return]


def words(count: int, length: int, seed: int = 0) -> TextBatch:
    ids = torch.randint(5, 700, (count, length), generator=torch.Generator().manual_seed(seed))
    return TextBatch(ids, torch.ones_like(ids, dtype=torch.bool))


def logits(task: CaptioningTask, text: TextBatch) -> Tensor:
    """After every word of two captions of two images, [2, L, V]."""
    path = task.core.image_path(levels_of(task))
    return task.writer.logits(path, text, text.token_mask).view(*text.token_ids.shape, -1)


def batch_of(samples: Sequence[int], task: CaptioningTask, training: bool = True) -> TextQueryBatch:
    """Scenes as the task is given them."""
    data = ShapesData(image_size=64)
    dataset = ShapesDataset("val", max(samples) + 1, image_size=64, captions_per_scene=1 if training else 3)
    examples = ExampleDataset(dataset, task.model_config.pixels, None)
    collate = task.config.collator(task.model_config, data, dataset, training)
    return collate([examples[index] for index in samples])  # type: ignore[no-any-return]


def predicted(task: CaptioningTask, images: Sequence[Tensor]) -> list[ImageCaption]:
    return Predictor(task, "cpu").caption(list(images))
