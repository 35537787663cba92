"""Class names composed into prompts: all of them for evaluation, a sample with negatives for training."""

from __future__ import annotations

import itertools
import logging
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from glipv2.data.phrases import PhraseBook, listed
from glipv2.data.wordings import Wording, read_knowledge, read_wordings, spoken_name, wordings_in
from glipv2.errors import UserError, nearest
from glipv2.ranges import at_least, share
from glipv2.structures import Phrase, Prompt, PromptBatch, TextBatch, TokenizedText, Vocabulary, positive_tokens
from glipv2.structures.batches import pad_rows
from glipv2.tokenizer import Tokenizer

log = logging.getLogger(__name__)

# In training, few distinct lengths: CPU kernels are prepared once a shape, which costs more than the padding.
# A prompt that is asked of many pictures is as long as its tokens (step 1): every padded one costs time.
TOKEN_STEP = 32


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

    captions: `Wording` by name, as {penguin: {suffix: ", which is black"}}; captions_file: the same from
    a file, see `read_wordings`; where both speak of a name, `captions` counts.
    knowledge: a file of sentences by name, see `read_knowledge`; a name's own is appended as
    ", sentence" and stands for nothing. knowledge_tokens: its length at most (0 = what is left of a
    prompt). The released knowledge mode differs: there each class is a sequence of its own,
    "clean_name: sentence", whose single pooled state stands for the class, so that classes do not read
    each other; here it is more words in the common prompt, which costs room (more prompts).
    """

    separator: str = ". "
    max_names: int = at_least(0, 85)
    eval_names: int = at_least(0, 0)
    full_probability: float = share(0.5)
    leave_out: float = share(0.0)
    shuffle: bool = True
    captions: dict[str, dict[str, str]] = field(default_factory=dict)
    captions_file: str | None = None
    knowledge: str | None = None
    knowledge_tokens: int = at_least(0, 0)

    def wordings(self, vocabulary: Vocabulary) -> dict[str, Wording]:
        """The wordings of names by name; UserError for a name that is not in the vocabulary."""
        given: dict[str, Any] = {self.captions_file: read_wordings(self.captions_file)} if self.captions_file else {}
        found: dict[str, Wording] = {}
        for place, content in {**given, "data.prompts.captions": self.captions}.items():
            try:
                found |= wordings_in(content, vocabulary)
            except UserError as error:
                raise UserError(f"{place}: {error}") from None
        return found

    def sentences(self, vocabulary: Vocabulary) -> dict[str, str]:
        """The knowledge of names by name; UserError where there is none at all. Names without are warned about."""
        if not self.knowledge:
            return {}
        known = read_knowledge(self.knowledge)
        found = {name: known.get(name) or known.get(spoken_name(name), "") for name in vocabulary.names}
        without = [name for name, sentence in found.items() if not sentence]
        if len(without) == len(found):
            raise UserError(
                f"{self.knowledge}: no sentence for any of {len(found)} names, as '{without[0]}'; "
                f"{nearest(without[0], list(known)[:20])}"
            )
        if without:
            names = listed([f"'{name}'" for name in without])
            log.warning("%s: no sentence for %d of %d names: %s", self.knowledge, len(without), len(found), names)
        return found


class PromptComposer:
    """Prompts over one vocabulary within a tokenizer's budget; the phrases are those of a `PhraseBook`.

    taught: the names that training prompts may hold (default all). A name that a data set holds
    out must not appear there even as a negative, or the model learns that it is never true.
    """

    def __init__(
        self, vocabulary: Vocabulary, tokenizer: Tokenizer, config: PromptConfig, taught: Sequence[str] | None = None
    ) -> None:
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.config = config
        self._taught = [vocabulary.label_of_name(name) for name in (vocabulary.names if taught is None else taught)]
        wordings, sentences = config.wordings(vocabulary), config.sentences(vocabulary)
        self.book = PhraseBook(vocabulary, tokenizer, config.separator, wordings, sentences, config.knowledge_tokens)

    def all_names(self) -> list[Prompt]:
        """Prompts that together hold every name once, in order; no name is cut."""
        return self.some_names(range(len(self.vocabulary)))

    def some_names(self, labels: Sequence[int]) -> list[Prompt]:
        """The same of some of the names, by their labels in the whole vocabulary."""
        chunks: list[list[int]] = [[]]
        used = 0
        most = self.config.eval_names or len(self.vocabulary)
        for label in labels:
            if chunks[-1] and (len(chunks[-1]) == most or not self.book.fits(used, label)):
                chunks.append([])
                used = 0
            chunks[-1].append(label)
            used = self.book.after(used, label)
        return [self._compose(labels) for labels in chunks]

    def sampled(self, positives: Sequence[int], rng: random.Random) -> Prompt:
        """A training prompt: the image's own names and some absent ones, in random order.

        A prompt always has a name. Where the present ones alone exceed the budget a random part is kept.
        A name that reads the same as a present one is no negative: it would teach the opposite.
        """
        found = set(positives)
        true = {self.book.phrases[label].token_ids for label in found}
        absent = [
            label for label in self._taught if label not in found and self.book.phrases[label].token_ids not in true
        ]
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
            if self.book.fits(used, label):
                kept.append(label)
                used = self.book.after(used, label)
        return kept

    def _compose(self, labels: Sequence[int]) -> Prompt:
        text = ""
        phrases = []
        for label in labels:
            phrase = self.book.phrases[label]
            text += (self.config.separator if text else "") + phrase.before
            phrases.append(Phrase(label, ((len(text), len(text) + len(phrase.name)),)))
            text += phrase.name + phrase.after
        return Prompt(text, tuple(phrases))


def collate_rows(rows: Sequence[Sequence[Prompt]], tokenizer: Tokenizer) -> tuple[PromptBatch, ...]:
    """Each image's own prompts, one list an image: the first of all, the second of all, …

    An image with fewer prompts than another has prompts without a phrase, which find nothing.
    """
    longest = itertools.zip_longest(*rows, fillvalue=Prompt("", ()))
    return tuple(collate_prompts(prompts, tokenizer, step=1)[0] for prompts in longest)


def collate_prompts(
    prompts: Sequence[Prompt], tokenizer: Tokenizer, step: int = TOKEN_STEP
) -> tuple[PromptBatch, list[TokenizedText]]:
    """One row a prompt, padded to the next multiple of `step`: padding changes no number."""
    return collate_side_by_side([[prompt] for prompt in prompts], tokenizer, step)


def collate_side_by_side(
    rows: Sequence[Sequence[Prompt]], tokenizer: Tokenizer, step: int = TOKEN_STEP
) -> tuple[PromptBatch, list[TokenizedText]]:
    """One row for several prompts, one after the other, that do not read each other; see `TextBatch.segments`.

    A row is encoded as one text whose phrases are those of all its prompts, in order. Phrases keep their
    labels where they are alone, else they are counted.
    """
    encoded = iter(tokenizer.encode([prompt.text for row in rows for prompt in row]))
    texts = [[next(encoded) for _ in row] for row in rows]
    whole = [_one_text(row, own) for row, own in zip(rows, texts, strict=True)]
    length = -(-max(len(text) for _, text in whole) // step) * step
    alone = all(len(row) == 1 for row in rows)
    if alone:
        length = min(length, tokenizer.max_tokens)
    token_ids = torch.full((len(rows), length), tokenizer.pad_id)
    token_mask = torch.zeros(len(rows), length, dtype=torch.bool)
    segments = torch.zeros(len(rows), length, dtype=torch.int64)
    for row, (_, text) in enumerate(whole):
        token_ids[row, : len(text)] = torch.tensor(text.token_ids)
        token_mask[row, : len(text)] = True
        numbers = [number for number, part in enumerate(texts[row]) for _ in range(len(part))]
        segments[row, : len(text)] = torch.tensor(numbers)
    maps = [phrase_rows(prompt, text, length) for prompt, text in whole]
    labels = [torch.tensor([phrase.label for phrase in prompt.phrases], dtype=torch.int64) for prompt, _ in whole]
    tokens = TextBatch(token_ids, token_mask, None if alone else segments)
    return PromptBatch(tokens, pad_rows(maps)[0], pad_rows(labels, -1)[0]), [text for _, text in whole]


def _one_text(prompts: Sequence[Prompt], texts: Sequence[TokenizedText]) -> tuple[Prompt, TokenizedText]:
    """Prompts and their tokens, one after the other, as if they were one."""
    if len(prompts) == 1:
        return prompts[0], texts[0]
    starts = [0, *itertools.accumulate(len(prompt.text) for prompt in prompts)]
    spans = [
        tuple((start + begin, start + end) for begin, end in phrase.spans)
        for start, prompt in zip(starts, prompts, strict=False)
        for phrase in prompt.phrases
    ]
    offsets = [
        (start + begin, start + end) for start, text in zip(starts, texts, strict=False) for begin, end in text.offsets
    ]
    ids = [token_id for text in texts for token_id in text.token_ids]
    phrases = tuple(Phrase(number, own) for number, own in enumerate(spans))
    return Prompt("".join(prompt.text for prompt in prompts), phrases), TokenizedText(tuple(ids), tuple(offsets))


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
