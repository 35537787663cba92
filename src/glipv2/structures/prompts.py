"""Text for the model, with the characters and the tokens that belong to each phrase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Span = tuple[int, int]  # [begin, end) in characters


@dataclass(frozen=True)
class Phrase:
    """A stretch of the prompt (one or more spans) and the label it stands for."""

    label: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Prompt:
    """Text composed for the model. Spans are known by construction, never searched for."""

    text: str
    phrases: tuple[Phrase, ...]


@dataclass(frozen=True)
class TokenizedText:
    """Token ids of one text, special tokens included, and each token's [begin, end) in it.

    Special tokens have the empty span (0, 0).
    """

    token_ids: tuple[int, ...]
    offsets: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.token_ids)


def positive_tokens(phrases: Sequence[Sequence[Span]], offsets: Sequence[Span], length: int) -> Tensor:
    """Bool [P, length]: for each phrase (its spans) the tokens that share a character with it.

    The same tokens as the released code's walk from the first to the last character's token.
    """
    rows = torch.zeros(len(phrases), length, dtype=torch.bool)
    spans = [(row, begin, end) for row, phrase in enumerate(phrases) for begin, end in phrase if begin < end]
    if not spans:
        return rows
    owner, begin, end = torch.tensor(spans).unbind(dim=1)
    first, last = torch.tensor(offsets).unbind(dim=1)
    shared = (begin[:, None] < last) & (first < end[:, None]) & (first < last)  # special tokens are empty
    hit, token = shared.nonzero(as_tuple=True)
    rows[owner[hit], token] = True
    return rows
