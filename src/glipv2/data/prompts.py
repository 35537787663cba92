"""Class names composed into prompts: all of them for evaluation, a sample with negatives for training."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from glipv2.errors import UserError
from glipv2.structures import Phrase, Prompt, PromptBatch, TextBatch, TokenizedText, Vocabulary, positive_tokens
from glipv2.structures.batches import pad_rows
from glipv2.tokenizer import Tokenizer

log = logging.getLogger(__name__)

TOKEN_STEP = 32  # few distinct lengths: CPU kernels are prepared once a shape, which costs more than the padding


@dataclass
class PromptConfig:
    """How names become text.

    separator: stands between two names. max_names: how many names a training prompt has at most
    (0 = as many as fit). full_probability: how often a training prompt is filled up to `max_names`
    instead of to a number drawn evenly. leave_out: how often a name that is in the image is left
    out of its prompt, so that the model learns not to answer for what was not asked (the released
    recipe keeps all). shuffle: draw the order of the names anew for each image.
    eval_names: how many names an evaluation prompt has at most (0 = as many as fit); more names
    than that are spread over several prompts on the same image features.
    """

    separator: str = ". "
    max_names: int = 85
    eval_names: int = 0
    full_probability: float = 0.5
    leave_out: float = 0.0
    shuffle: bool = True


def spoken_name(name: str) -> str:
    """A category name as it is read: without brackets and underscores, as the released code cleans it."""
    plain = re.sub(r"\(.*?\)", "", name).replace("_", " ")
    return re.sub(r"\s+", " ", plain).strip() or name


class PromptComposer:
    """Prompts over one vocabulary within a tokenizer's budget.

    taught: the names that training prompts may hold (default all). A name that a data set holds
    out must not appear there even as a negative, or the model learns that it is never true.
    """

    def __init__(
        self, vocabulary: Vocabulary, tokenizer: Tokenizer, config: PromptConfig, taught: Sequence[str] | None = None
    ) -> None:
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.config = config
        self._names = [spoken_name(name) for name in vocabulary.names]
        self._taught = [vocabulary.label_of_name(name) for name in (vocabulary.names if taught is None else taught)]
        separator = tokenizer.count(config.separator.strip())
        self._costs = [tokenizer.count(name) + separator for name in self._names]
        self._budget = tokenizer.max_tokens - tokenizer.special_tokens
        self._warn_about_names()

    def all_names(self) -> list[Prompt]:
        """Prompts that together hold every name once, in order; no name is cut."""
        chunks: list[list[int]] = [[]]
        used = 0
        most = self.config.eval_names or len(self._names)
        for label, cost in enumerate(self._costs):
            if len(chunks[-1]) == most or (chunks[-1] and used + cost > self._budget):
                chunks.append([])
                used = 0
            chunks[-1].append(label)
            used += cost
        return [self._compose(labels) for labels in chunks]

    def sampled(self, positives: Sequence[int], rng: random.Random) -> Prompt:
        """A training prompt: the image's own names and some absent ones, in random order.

        A prompt always has a name. Where the present ones alone exceed the budget a random part is kept.
        """
        found = set(positives)
        absent = [label for label in self._taught if label not in found]
        present = [label for label in sorted(found) if rng.random() >= self.config.leave_out]
        present = present if present or absent else sorted(found)
        if self.config.shuffle:
            rng.shuffle(present)
            rng.shuffle(absent)
        wanted = max(self._draw_size(rng), 1)
        labels = self._within_budget(present + absent, max(wanted, len(present)))
        if self.config.shuffle:
            rng.shuffle(labels)
        else:
            labels.sort()
        return self._compose(labels)

    def _draw_size(self, rng: random.Random) -> int:
        most = min(self.config.max_names or len(self._taught), len(self._taught))
        if rng.random() < self.config.full_probability:
            return most
        return rng.randint(1, most)

    def _within_budget(self, labels: Sequence[int], most: int) -> list[int]:
        kept: list[int] = []
        used = 0
        for label in labels:
            if len(kept) == most:
                break
            if used + self._costs[label] <= self._budget:
                kept.append(label)
                used += self._costs[label]
        return kept

    def _compose(self, labels: Sequence[int]) -> Prompt:
        text = ""
        phrases = []
        for label in labels:
            text += self.config.separator if text else ""
            phrases.append(Phrase(label, ((len(text), len(text) + len(self._names[label])),)))
            text += self._names[label]
        return Prompt(text, tuple(phrases))

    def _warn_about_names(self) -> None:
        for name, spoken, cost in zip(self.vocabulary.names, self._names, self._costs, strict=True):
            if cost > self._budget:
                raise UserError(
                    f"the name '{name[:60]}…' has {cost} tokens, a prompt holds {self._budget}; shorten the name"
                )
            if not self.tokenizer.knows(spoken):
                log.warning(
                    "no part of the name '%s' is in the tokenizer's vocabulary: the model reads it as unknown", name
                )


def collate_prompts(prompts: Sequence[Prompt], tokenizer: Tokenizer) -> tuple[PromptBatch, list[TokenizedText]]:
    """One row a prompt, padded to the next multiple of TOKEN_STEP: more padding would change no number."""
    encoded = tokenizer.encode([prompt.text for prompt in prompts])
    length = min(-(-max(map(len, encoded)) // TOKEN_STEP) * TOKEN_STEP, tokenizer.max_tokens)
    token_ids = torch.full((len(encoded), length), tokenizer.pad_id)
    token_mask = torch.zeros(len(encoded), length, dtype=torch.bool)
    for row, text in enumerate(encoded):
        token_ids[row, : len(text)] = torch.tensor(text.token_ids)
        token_mask[row, : len(text)] = True
    maps = [phrase_rows(prompt, text, length) for prompt, text in zip(prompts, encoded, strict=True)]
    labels = [torch.tensor([phrase.label for phrase in prompt.phrases], dtype=torch.int64) for prompt in prompts]
    return (
        PromptBatch(TextBatch(token_ids, token_mask), pad_rows(maps)[0], pad_rows(labels, -1)[0]),
        encoded,
    )


def phrase_rows(prompt: Prompt, text: TokenizedText, length: int) -> torch.Tensor:
    """Bool [P, length]: the tokens of each phrase of a prompt."""
    return positive_tokens([phrase.spans for phrase in prompt.phrases], text.offsets, length)


def names_in_text(text: str) -> tuple[str, ...]:
    """Names from "a red circle. a blue square.": split at full stops, articles dropped, each once.

    UserError when no name is left.
    """
    names: dict[str, None] = {}
    for part in text.split("."):
        name = re.sub(r"^(a|an|the)\s+", "", part.strip(), flags=re.IGNORECASE).strip()
        if name:
            names.setdefault(name)
    if not names:
        raise UserError(
            f"expected names separated by full stops, as in text=\"a red circle. a dog.\", but got '{text}'"
        )
    return tuple(names)
