"""Claims about screening: which names stay is what comparing one by one says, and those are asked for exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.data.prompts import PromptComposer, PromptConfig, collate_rows
from glipv2.data.unlabelled import resized_for
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.losses.contrast import ContrastConfig
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.fusion import flatten_levels
from glipv2.screening import likely_names
from glipv2.structures import Detections, ImageBatch, Vocabulary
from glipv2.tasks.detection import DetectionConfig, DetectionTask

NAMES = tuple(f"{color} {shape}" for color in ("red", "blue", "pink") for shape in ("circle", "star", "square", "ring"))
VOCABULARY = Vocabulary(NAMES)


def built(model: ModelConfig, contrast: float) -> DetectionTask:
    torch.manual_seed(0)
    loss = replace(LossConfig.grounding_only(), contrast=ContrastConfig(weight=contrast))
    task = DetectionConfig().build(model, loss).eval()
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    task.vocabulary = VOCABULARY
    return task


def pictures(sizes: tuple[tuple[int, int], ...] = ((90, 130), (64, 64), (100, 70))) -> list[Tensor]:
    rng = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, *size), generator=rng, dtype=torch.uint8) for size in sizes]


@torch.inference_mode()
def slow_scores(task: DetectionTask, pixels: Tensor) -> list[float]:
    """Every region with every token, one name a prompt's part at a time."""
    tokenizer = task.model_config.tokenizer.build()
    prompts = collate_rows([PromptComposer(VOCABULARY, tokenizer, PromptConfig()).all_names()], tokenizer)
    scores = [float("-inf")] * len(NAMES)
    levels = task.core.image(pixels)
    for prompt in prompts:
        regions, words = task.contrast(flatten_levels(levels)[0], task.core.text(prompt.text)[0])
        for phrase, label in enumerate(prompt.phrase_labels[0].tolist()):
            places = prompt.phrase_map[0, phrase].nonzero().flatten().tolist()
            likeness = [sum(float(region @ words[place]) for place in places) / len(places) for region in regions]
            scores[label] = max(likeness)
    return scores


def test_the_names_that_stay_are_those_that_some_region_is_most_like(model_config: ModelConfig) -> None:
    task = built(model_config, 1.0)
    predictor = Predictor(task, "cpu")
    pixels = torch.randn(1, 3, 64, 64)
    tokenizer = task.model_config.tokenizer.build()
    prompts = collate_rows([PromptComposer(VOCABULARY, tokenizer, PromptConfig()).all_names()], tokenizer)
    images = ImageBatch(pixels, torch.tensor([[64, 64]]))
    scores = slow_scores(task, pixels)
    best = sorted(range(len(NAMES)), key=lambda label: -scores[label])
    with torch.inference_mode():
        for keep in (1, 4, 99):
            assert likely_names(predictor.task.parts(), images, prompts, keep, 32) == [sorted(best[:keep])]


@pytest.mark.parametrize("contrast", [0.0, 1.0])
def test_screened_pictures_are_asked_for_their_names_alone_and_no_neighbour_matters(
    model_config: ModelConfig, contrast: float
) -> None:
    predictor = Predictor(built(model_config, contrast), "cpu")
    together = predictor.detect(pictures(), NAMES, screen=3)
    for picture, found in zip(pictures(), together, strict=True):
        assert found.vocabulary.names == NAMES
        asked = predictor.detect(picture, [NAMES[label] for label in likely(predictor, picture)])
        same(found, asked)
        assert_close(found.scores, asked.scores, atol=1e-5, rtol=1e-4)
    same(predictor.with_vocabulary(NAMES, screen=3).detect(pictures()[0]), together[0])


@torch.inference_mode()
def likely(predictor: Predictor, picture: Tensor) -> list[int]:
    """The three names that stay of one picture that is looked at alone."""
    pixels = predictor.task.model_config.pixels
    tokenizer = predictor.task.model_config.tokenizer.build()
    prompts = collate_rows([PromptComposer(VOCABULARY, tokenizer, PromptConfig()).all_names()], tokenizer)
    images = pixels.batch([resized_for(pixels, picture)])
    (labels,) = likely_names(predictor.task.parts(), images, prompts, 3, pixels.size_divisor)
    assert len(labels) == 3
    return labels


def same(first: Detections, second: Detections) -> None:
    assert len(first) == len(second) > 0
    assert first.names == second.names
    assert_close(first.boxes, second.boxes, atol=1e-3, rtol=1e-4)


def test_a_screen_that_keeps_all_changes_nothing(model_config: ModelConfig) -> None:
    predictor = Predictor(built(model_config, 1.0), "cpu")
    same(predictor.detect(pictures()[0], NAMES, screen=12), predictor.detect(pictures()[0], NAMES))


def test_pictures_with_names_of_their_own_are_not_screened(model_config: ModelConfig) -> None:
    predictor = Predictor(built(model_config, 1.0), "cpu")
    with pytest.raises(UserError, match="screen: expected a number of names, of one list for all pictures, but got 1"):
        predictor.detect(pictures()[:2], [["red circle", "star"], ["ring", "square"]], screen=1)
    with pytest.raises(UserError, match="but got -2"):
        predictor.detect(pictures()[:2], NAMES, screen=-2)
