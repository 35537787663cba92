"""Captions and questions to batches: one row a text, or one an image with its texts side by side."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor

from glipv2.data.answers import AnswerList
from glipv2.data.order import seed_of
from glipv2.data.prompts import TOKEN_STEP, collate_side_by_side
from glipv2.data.transforms import Example
from glipv2.pixels import PixelConfig
from glipv2.structures import (
    Caption,
    Phrase,
    Prompt,
    PromptBatch,
    Question,
    RegionTargets,
    TextBatch,
    TextQueryBatch,
    TokenizedText,
    WordTargets,
)
from glipv2.structures.batches import pad_rows
from glipv2.tokenizer import Tokenizer

log = logging.getLogger(__name__)

Text = TypeVar("Text", Caption, Question)
Chosen = Sequence[Sequence[Caption | Question]]  # the texts of each image

NO_TEXT = torch.zeros(1, dtype=torch.bool)


class CaptionCollator:
    """Captions with their phrases. most: drawn for each image of a training batch, 0 = all; evaluation takes all."""

    def __init__(self, pixels: PixelConfig, tokenizer: Tokenizer, *, training: bool, most: int = 0) -> None:
        self.pixels = pixels
        self.tokenizer = tokenizer
        self.training = training
        self.most = most

    def __call__(self, examples: Sequence[Example]) -> TextQueryBatch:
        if not self.training:
            return collate_texts(examples, [one.sample.captions for one in examples], self.pixels, self.tokenizer)
        chosen = [drawn(example.sample.captions, self.most, example.seed) for example in examples]
        return collate_taught(examples, chosen, self.pixels, self.tokenizer, hide_words=True)


class QuestionCollator:
    """Questions with their phrases and how right each answer is. most: see `CaptionCollator`.

    together: an image's questions stand side by side in one row of a training batch. A question none of
    whose answers is known teaches that all known ones are wrong; this is said once. No word of a question is
    hidden: it would be another question.
    """

    def __init__(
        self, pixels: PixelConfig, tokenizer: Tokenizer, answers: Sequence[str], *, training: bool, most: int = 0,
        together: bool = False,
    ) -> None:  # fmt: skip
        self.pixels = pixels
        self.tokenizer = tokenizer
        self.answers = AnswerList(answers)
        self.training = training
        self.most = most
        self.together = together
        self._said = False

    def __call__(self, examples: Sequence[Example]) -> TextQueryBatch:
        if not self.training:
            return collate_texts(examples, [one.sample.questions for one in examples], self.pixels, self.tokenizer)
        chosen = [drawn(example.sample.questions, self.most, example.seed) for example in examples]
        batch = collate_taught(examples, chosen, self.pixels, self.tokenizer, hide_words=False, together=self.together)
        rows = [self._rightness(question) for own in chosen for question in own]
        return replace(batch, answers=torch.stack(rows) if rows else torch.zeros(0, len(self.answers)))

    def _rightness(self, question: Question) -> Tensor:
        if not self._said and not self.answers.knows_one_of(question.answers):
            self._said = True
            log.warning(
                "some questions have none of the %d answers that are learned, as '%s' (%s); they teach that all of "
                "these are wrong",
                len(self.answers),
                question.text,
                ", ".join(dict.fromkeys(question.answers)),
            )
        return self.answers.rightness(question.answers)


def drawn(texts: Sequence[Text], most: int, seed: int) -> list[Text]:
    """At most `most` of the texts (0 = all), in their order; which ones follows from the seed."""
    if not most or len(texts) <= most:
        return list(texts)
    return [texts[place] for place in sorted(random.Random(seed_of(seed, "texts")).sample(range(len(texts)), most))]


def prompt_of(text: Caption | Question) -> Prompt:
    """The text with its phrases labelled by their place in it."""
    return Prompt(text.text, tuple(Phrase(place, phrase.spans) for place, phrase in enumerate(text.phrases)))


def collate_texts(
    examples: Sequence[Example], chosen: Chosen, pixels: PixelConfig, tokenizer: Tokenizer
) -> TextQueryBatch:
    """The examples' images with the texts chosen for each, to be read; nothing is taught."""
    return _collated(examples, _rows(chosen, together=False), pixels, tokenizer)[0]


def collate_taught(
    examples: Sequence[Example], chosen: Chosen, pixels: PixelConfig, tokenizer: Tokenizer, *, hide_words: bool,
    together: bool = False,
) -> TextQueryBatch:  # fmt: skip
    """The same with the boxes that phrases name. hide_words: any word may be masked, or none.

    together: the texts of an image stand side by side in one row, and its boxes with the words of all.
    A box that no phrase of a row names is a negative for all of its words, and so is everything for a
    phrase without instances. Words are not propagated to other images (`WordTargets`): what a caption
    calls "the man" is one man.
    """
    rows = _rows(chosen, together)
    batch, encoded = _collated(examples, rows, pixels, tokenizer)
    count, length = batch.prompts.text.token_ids.shape
    found = [
        _named(examples[row.image], row.texts, phrase_map)
        for row, phrase_map in zip(rows, batch.prompts.phrase_map, strict=True)
    ]
    boxes, box_mask = pad_rows([named.boxes for named in found] or [torch.zeros(0, 4)])
    positive_map, _ = pad_rows([named.positive for named in found] or [torch.zeros(0, length, dtype=torch.bool)])
    known, _ = pad_rows([torch.tensor([bool(text.phrases) for text in row.texts]) for row in rows] or [NO_TEXT])
    segments = batch.prompts.text.segments
    judged = known[:count].expand(-1, length) if segments is None else known.gather(1, segments)
    maskable = torch.zeros(count, length, dtype=torch.bool)
    for row, text in enumerate(encoded if hide_words else ()):
        maskable[row, : len(text)] = torch.tensor([begin < end for begin, end in text.offsets])
    return replace(
        batch,
        targets=RegionTargets(
            boxes[:count],
            box_mask[:count],
            positive_map[:count],
            judged,
            _seeds(examples, rows),
            torch.tensor([examples[row.image].pixel for row in rows]).reshape(-1, 2),
        ),
        words=WordTargets(
            box_classes=torch.zeros(count, boxes.shape[1], dtype=torch.int64),
            token_classes=torch.zeros(count, length, dtype=torch.int64),
            maskable=maskable,
            images=batch.image_rows.unique(return_inverse=True)[1],
        ),
    )


@dataclass(frozen=True)
class Row:
    """A row of a batch: the place of its image, and the texts about it that stand side by side."""

    image: int
    texts: Sequence[Caption | Question]


def _rows(chosen: Chosen, together: bool) -> list[Row]:
    if together:
        return [Row(image, own) for image, own in enumerate(chosen) if own]
    return [Row(image, (text,)) for image, own in enumerate(chosen) for text in own]


def _collated(
    examples: Sequence[Example], rows: Sequence[Row], pixels: PixelConfig, tokenizer: Tokenizer
) -> tuple[TextQueryBatch, list[TokenizedText]]:
    texts = [[prompt_of(text) for text in row.texts] for row in rows]
    prompts, encoded = collate_side_by_side(texts, tokenizer) if texts else (no_prompts(), [])
    batch = TextQueryBatch(
        images=pixels.batch([example.image for example in examples]),
        texts=tuple(chain(*texts)),
        prompts=prompts,
        image_rows=torch.tensor([row.image for row in rows], dtype=torch.int64),
        truth=tuple(example.truth for example in examples),
    )
    return batch, encoded


@dataclass(frozen=True)
class NamedBoxes:
    """Boxes [N, 4], and positive bool [N, L]: the tokens of all phrases that name each."""

    boxes: Tensor
    positive: Tensor


def _named(example: Example, texts: Sequence[Caption | Question], phrase_map: Tensor) -> NamedBoxes:
    """The instances that the texts name and that are still in the image; crowds teach no box."""
    count = len(example.instances)
    places = {own: row for row, own in enumerate(range(count) if example.kept is None else example.kept)}
    positive = torch.zeros(count, phrase_map.shape[1], dtype=torch.bool)
    phrases = (phrase for text in texts for phrase in text.phrases)
    for phrase, tokens in zip(phrases, phrase_map, strict=False):  # the map is padded to the longest row
        for instance in phrase.instances:
            if instance in places:
                positive[places[instance]] |= tokens
    named = positive.any(dim=1) & ~example.instances.is_crowd
    return NamedBoxes(example.instances.boxes[named], positive[named])


def _seeds(examples: Sequence[Example], rows: Sequence[Row]) -> Tensor:
    """int64 [R]: of each row, by its image's seed and its place among the image's rows."""
    places = Counter[int]()
    seeds = []
    for row in rows:
        seeds.append(seed_of(examples[row.image].seed, places[row.image]))
        places[row.image] += 1
    return torch.tensor(seeds, dtype=torch.int64)


def no_prompts() -> PromptBatch:
    """Of no text."""
    text = TextBatch(torch.zeros(0, TOKEN_STEP, dtype=torch.int64), torch.zeros(0, TOKEN_STEP, dtype=torch.bool))
    return PromptBatch(text, torch.zeros(0, 0, TOKEN_STEP, dtype=torch.bool), torch.zeros(0, 0, dtype=torch.int64))
