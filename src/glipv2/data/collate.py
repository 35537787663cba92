"""Examples to batches."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from glipv2.data.prompts import PromptComposer, collate_prompts, phrase_rows
from glipv2.data.transforms import Example
from glipv2.pixels import PixelConfig
from glipv2.structures import (
    DetectionBatch,
    Instances,
    Prompt,
    PromptBatch,
    RegionTargets,
    TextBatch,
    TokenizedText,
)
from glipv2.structures.batches import pad_rows


class TrainingCollator:
    """One freshly sampled prompt an image, and the boxes that its phrases name."""

    def __init__(self, pixels: PixelConfig, composer: PromptComposer) -> None:
        self.pixels = pixels
        self.composer = composer

    def __call__(self, examples: Sequence[Example]) -> DetectionBatch:
        prompts = [self._prompt(example.instances) for example in examples]
        batch, encoded = collate_prompts(prompts, self.composer.tokenizer)
        length = batch.text.token_ids.shape[1]
        rows = [
            _box_targets(example.instances, prompt, text, length)
            for example, prompt, text in zip(examples, prompts, encoded, strict=True)
        ]
        boxes, box_mask = pad_rows([boxes for boxes, _ in rows])
        positive_map, _ = pad_rows([positive for _, positive in rows])
        return DetectionBatch(
            images=self.pixels.batch([example.image for example in examples]),
            prompts=(batch,),
            targets=RegionTargets(boxes, box_mask, positive_map),
            truth=tuple(example.truth for example in examples),
        )

    def _prompt(self, instances: Instances) -> Prompt:
        seed = int(torch.randint(2**62, ()))  # from torch's generator, which Lightning seeds in each worker
        return self.composer.sampled(instances.labels.tolist(), random.Random(seed))


class EvaluationCollator:
    """Every name of the vocabulary for every image, in as many prompts as the budget needs."""

    def __init__(self, pixels: PixelConfig, composer: PromptComposer) -> None:
        self.pixels = pixels
        self.prompts = tuple(collate_prompts([prompt], composer.tokenizer)[0] for prompt in composer.all_names())

    def __call__(self, examples: Sequence[Example]) -> DetectionBatch:
        return DetectionBatch(
            images=self.pixels.batch([example.image for example in examples]),
            prompts=tuple(repeated(prompt, len(examples)) for prompt in self.prompts),
            targets=None,
            truth=tuple(example.truth for example in examples),
        )


def repeated(prompt: PromptBatch, count: int) -> PromptBatch:
    """A batch of one prompt for `count` images."""
    text = TextBatch(prompt.text.token_ids.expand(count, -1), prompt.text.token_mask.expand(count, -1))
    return PromptBatch(text, prompt.phrase_map.expand(count, -1, -1), prompt.phrase_labels.expand(count, -1))


def _box_targets(instances: Instances, prompt: Prompt, text: TokenizedText, length: int) -> tuple[Tensor, Tensor]:
    """Boxes [N, 4] and positive_map [N, length] of the instances that the prompt names; crowds teach no box."""
    rows = {phrase.label: row for phrase, row in zip(prompt.phrases, phrase_rows(prompt, text, length), strict=True)}
    crowd = instances.is_crowd.tolist()
    named = [i for i, label in enumerate(instances.labels.tolist()) if label in rows and not crowd[i]]
    positive = [rows[int(instances.labels[i])] for i in named]
    return instances.boxes[named], torch.stack(positive) if positive else torch.zeros(0, length, dtype=torch.bool)
