"""Examples to batches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glipv2.data.order import seed_of
from glipv2.data.prompts import PromptComposer, PromptConfig, collate_prompts, phrase_rows
from glipv2.data.transforms import Example
from glipv2.data.wordings import spoken_name
from glipv2.pixels import PixelConfig
from glipv2.remembering import remember
from glipv2.structures import (
    DetectionBatch,
    Instances,
    Prompt,
    PromptBatch,
    RegionTargets,
    TextBatch,
    TokenizedText,
    Vocabulary,
    WordTargets,
    class_identity,
)
from glipv2.structures.batches import pad_rows
from glipv2.tokenizer import Tokenizer


class TrainingCollator:
    """One freshly sampled prompt an image, and the boxes that its phrases name, with their masks where asked for."""

    def __init__(self, pixels: PixelConfig, composer: PromptComposer, with_masks: bool = False) -> None:
        self.pixels = pixels
        self.composer = composer
        self.with_masks = with_masks
        names = map(spoken_name, composer.vocabulary.names)
        self._identities = torch.tensor([*map(class_identity, names), 0])  # the last for -1, no label

    def __call__(self, examples: Sequence[Example]) -> DetectionBatch:
        prompts = [self._prompt(example) for example in examples]
        batch, encoded = collate_prompts(prompts, self.composer.tokenizer)
        length = batch.text.token_ids.shape[1]
        rows = [
            _box_targets(example.instances, prompt, text, length)
            for example, prompt, text in zip(examples, prompts, encoded, strict=True)
        ]
        boxes, box_mask = pad_rows([row.boxes for row in rows])
        positive_map, _ = pad_rows([row.positive for row in rows])
        labels, _ = pad_rows([row.labels for row in rows], -1)
        return DetectionBatch(
            images=self.pixels.batch([example.image for example in examples]),
            prompts=(batch,),
            targets=RegionTargets(
                boxes,
                box_mask,
                positive_map,
                seeds=seeds_of(examples),
                pixel=torch.tensor([example.pixel for example in examples]),
            ),
            truth=tuple(replace(example.truth, masks=None) for example in examples),  # large, and only metrics ask
            words=self._word_targets(labels, batch, positive_map),
            masks=tuple(row.masks for row in rows) if self.with_masks else None,
        )

    def _word_targets(self, labels: Tensor, prompts: PromptBatch, positive_map: Tensor) -> WordTargets:
        """Class identities of boxes and tokens; words that may be hidden are those of names in the image."""
        of_phrases = self._identities[prompts.phrase_labels]
        token_classes = (prompts.phrase_map * of_phrases[:, :, None]).amax(dim=1)
        return WordTargets(self._identities[labels], token_classes, positive_map.any(dim=1))

    def _prompt(self, example: Example) -> Prompt:
        return self.composer.sampled(example.instances.labels.tolist(), random.Random(seed_of(example.seed, "prompt")))


def seeds_of(examples: Sequence[Example]) -> Tensor:
    """int64 [B]: of what a step draws for each example."""
    return torch.tensor([example.seed for example in examples], dtype=torch.int64)


class EvaluationCollator:
    """Every name of the vocabulary for every image, in as many prompts as the budget needs."""

    def __init__(self, pixels: PixelConfig, composer: PromptComposer) -> None:
        self.pixels = pixels
        self.prompts = name_prompts(composer)

    def __call__(self, examples: Sequence[Example]) -> DetectionBatch:
        return DetectionBatch(
            images=self.pixels.batch([example.image for example in examples]),
            prompts=tuple(repeated(prompt, len(examples)) for prompt in self.prompts),
            targets=None,
            truth=tuple(example.truth for example in examples),
        )


def name_prompts(composer: PromptComposer) -> tuple[PromptBatch, ...]:
    """Every name of the vocabulary, in batches of one prompt each."""
    return tuple(collate_prompts([prompt], composer.tokenizer, step=1)[0] for prompt in composer.all_names())


class NamePrompts:
    """Every name of any vocabulary for images of which nothing is known; remembered: many images, one vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._made: dict[Vocabulary, tuple[PromptBatch, ...]] = {}

    def __call__(self, vocabulary: Vocabulary, count: int) -> tuple[PromptBatch, ...]:
        """The prompts, each for `count` images."""
        prompts = self._made.get(vocabulary)
        if prompts is None:
            made = name_prompts(PromptComposer(vocabulary, self._tokenizer, PromptConfig()))
            prompts = remember(self._made, vocabulary, made)
        return tuple(repeated(prompt, count) for prompt in prompts)


def repeated(prompt: PromptBatch, count: int) -> PromptBatch:
    """A batch of one prompt for `count` images."""
    text = TextBatch(prompt.text.token_ids.expand(count, -1), prompt.text.token_mask.expand(count, -1))
    return PromptBatch(text, prompt.phrase_map.expand(count, -1, -1), prompt.phrase_labels.expand(count, -1))


@dataclass(frozen=True)
class BoxRows:
    """Boxes [N, 4], labels [N], masks bool [N, h, w], and positive bool [N, L]: the tokens that name each."""

    boxes: Tensor
    labels: Tensor
    masks: Tensor
    positive: Tensor


def _box_targets(instances: Instances, prompt: Prompt, text: TokenizedText, length: int) -> BoxRows:
    """The instances that the prompt names; crowds teach no box."""
    rows = {phrase.label: row for phrase, row in zip(prompt.phrases, phrase_rows(prompt, text, length), strict=True)}
    crowd = instances.is_crowd.tolist()
    named = [i for i, label in enumerate(instances.labels.tolist()) if label in rows and not crowd[i]]
    positive = [rows[int(instances.labels[i])] for i in named]
    empty = torch.zeros(0, length, dtype=torch.bool)
    masks = torch.zeros(0, 0, 0, dtype=torch.bool) if instances.masks is None else instances.masks[named]
    return BoxRows(instances.boxes[named], instances.labels[named], masks, torch.stack(positive) if positive else empty)
