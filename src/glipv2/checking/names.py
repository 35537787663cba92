"""Checks of names and of the prompts that training will build of them."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from glipv2.checking.counts import SplitCounts
from glipv2.checking.findings import Finding
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.errors import UserError
from glipv2.structures import Prompt, Vocabulary
from glipv2.tokenizer import Tokenizer

EXAMPLES = 3  # prompts that are told
LISTED = 8  # names in one finding


@dataclass(frozen=True)
class PromptExample:
    """A prompt with its names and their tokens as text; use: "evaluation" or "training"."""

    split: str
    use: str
    text: str
    tokens: int
    phrases: tuple[tuple[str, tuple[str, ...]], ...]


def composer_of(vocabulary: Vocabulary, tokenizer: Tokenizer, prompts: PromptConfig) -> PromptComposer:
    """The composer of a training; what it would warn about becomes findings instead."""
    with _silent(logging.getLogger("glipv2.data.phrases")):
        return PromptComposer(vocabulary, tokenizer, prompts)


def names_in_prompts(
    vocabulary: Vocabulary, tokenizer: Tokenizer, prompts: PromptConfig, file: str
) -> Iterator[Finding]:
    """Names that no prompt holds, that read the same, are cut, or are unknown to the tokenizer."""
    try:
        book = composer_of(vocabulary, tokenizer, prompts).book
    except UserError as error:
        yield Finding("E501", file, "categories", str(error))
        return
    for group in book.alike:
        yield Finding("W502", file, "categories", f"{' = '.join(group[:LISTED])} read the same")
    for name in book.cut:
        yield Finding("W503", file, "categories", f"{name} is cut to a prompt of {book.budget} tokens")
    for name in book.unknown:
        yield Finding("W504", file, "categories", f"the tokenizer knows no part of {name}")


def idle_names(counts: SplitCounts, file: str) -> Iterator[Finding]:
    """Categories without a box, told in one."""
    idle = [name for name, count in counts.classes.items() if not count]
    if idle and counts.named and counts.boxes:
        what = f"{len(idle)} of {len(counts.classes)} categories have no box: {_listed(idle)}"
        yield Finding("W505", file, "categories", what)


def names_of_one_split(splits: Sequence[SplitCounts]) -> Iterator[Finding]:
    """Names that have boxes in one split and none in another of the same layout."""
    named = [split for split in splits if split.named and split.boxes]
    for split in named:
        for other in named:
            if split.kind != other.kind:
                continue
            lacking = [name for name, count in split.classes.items() if count and not other.classes[name]]
            if lacking and split.name != other.name:
                what = f"{len(lacking)} categories of {split.name} have no box in {other.name}: {_listed(lacking)}"
                yield Finding("W506", other.file, "categories", what)


def names_that_differ(vocabularies: Sequence[tuple[str, str, Vocabulary]]) -> Iterator[Finding]:
    """One id with another name in another file of the same layout. vocabularies: with their layouts and files."""
    known: dict[tuple[str, int], tuple[str, str]] = {}
    for kind, file, vocabulary in vocabularies:
        for name, category_id in zip(vocabulary.names, vocabulary.category_ids, strict=True):
            first, where = known.setdefault((kind, category_id), (name, file))
            if first != name:
                what = f"id {category_id} is '{name}', but '{first}' in {where}"
                yield Finding("E507", file, "categories", what)


def prompt_examples(
    split: str, vocabulary: Vocabulary, tokenizer: Tokenizer, prompts: PromptConfig, positives: Sequence[Sequence[int]]
) -> list[PromptExample]:
    """The first prompt of an evaluation, and one of training for each of the first images' labels."""
    try:
        composer = composer_of(vocabulary, tokenizer, prompts)
    except UserError:
        return []  # a finding tells it
    found = [("evaluation", composer.all_names()[0])]
    found += [("training", composer.sampled(own, random.Random(seed))) for seed, own in enumerate(positives[:EXAMPLES])]
    return [_example(split, use, prompt, vocabulary, tokenizer) for use, prompt in found]


def _example(split: str, use: str, prompt: Prompt, vocabulary: Vocabulary, tokenizer: Tokenizer) -> PromptExample:
    read = tokenizer.encode([prompt.text])[0]
    phrases = []
    for phrase in prompt.phrases:
        begin, end = phrase.spans[0]
        own = [prompt.text[first:last] for first, last in read.offsets if first < end and begin < last and first < last]
        phrases.append((vocabulary.names[phrase.label], tuple(own)))
    return PromptExample(split, use, prompt.text, len(read), tuple(phrases))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
