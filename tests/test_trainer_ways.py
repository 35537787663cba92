"""Claims about ways of running the same training: compiled, in another memory layout, with averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from glipv2.config import TrainConfig
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.data.shapes import ShapesDataset
from glipv2.data.transforms import ExampleDataset
from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.tasks.detection import DetectionConfig
from glipv2.trainer import TrainerConfig


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.compile=inducto", "no backend 'inducto'; did you mean 'inductor'"),
        ("trainer.grad_checkpointing=[text,fusoin]", "no part 'fusoin'; did you mean 'fusion'"),
        ("trainer.strategy=fsdp trainer.ema=0.9", "strategy=fsdp can't go with trainer.ema"),
        ("trainer.strategy=fsdp trainer.compile=eager", "strategy=fsdp can't go with trainer.compile"),
        ("trainer.strategy=fsdp trainer.precision=16-mixed", "takes precision 32-true or bf16-mixed, not 16-mixed"),
        ("trainer.ema=1", "expected a decay of 0 to below 1, as 0.999, but got 1"),
    ],
)
def test_ways_that_there_are_not_are_refused(
    compose: Callable[[Sequence[str]], TrainConfig], word: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        compose(word.split()).trainer.check()


@pytest.mark.parametrize(
    "ways",
    [
        pytest.param(TrainerConfig(compile="eager", channels_last=False), marks=pytest.mark.slow),
        TrainerConfig(channels_last=True),
        TrainerConfig(channels_last=True, grad_checkpointing=["image", "text", "fusion"]),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_other_ways_give_the_same_losses_and_names(model_config: ModelConfig, ways: TrainerConfig) -> None:
    # compiling takes most of a minute a layer
    model_config = replace(model_config, fusion=replace(model_config.fusion, layers=1))
    samples = ShapesDataset("train", 2, image_size=64)
    examples = ExampleDataset(samples, model_config.pixels, None)
    tokenizer = model_config.tokenizer.build()
    from glipv2.data.collate import TrainingCollator

    collate = TrainingCollator(model_config.pixels, PromptComposer(samples.vocabulary, tokenizer, PromptConfig()))
    torch.manual_seed(0)
    batch = collate([examples[0], examples[1]])
    found = []
    for own in (TrainerConfig(channels_last=False), ways):
        torch.manual_seed(0)
        task = DetectionConfig().build(model_config, LossConfig.grounding_only()).train()
        names = list(task.state_dict())
        own.prepare(task)
        assert list(task.state_dict()) == names
        losses = task.losses(batch)
        losses.total.backward()
        norm = torch.stack([p.grad.norm() for p in task.parameters() if p.grad is not None]).norm()
        found.append({**losses.terms, "norm": norm})
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
