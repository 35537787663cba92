"""Claims about the tokens that a phrase owns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glipv2.structures import positive_tokens
from glipv2.structures.prompts import Span
from glipv2.tokenizer import TokenizerConfig

TOKENIZER = TokenizerConfig(max_tokens=10_000).build()
WORDS = ["red", "circle", "Circle", "a", "ring", "e-mail", "T.V.", "o'clock", "Straße", "İstanbul", "猫", "café", "x2"]
PUNCTUATED = st.text("ab.,-'/&()#é猫ÅßЖ09 ", min_size=1, max_size=12).map(str.strip).filter(bool)
NAMES = st.lists(st.one_of(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), PUNCTUATED))


def joined(names: list[str], separator: str = ". ") -> tuple[str, list[list[Span]]]:
    """The prompt of names and the characters of each."""
    text, spans = "", []
    for name in names:
        text += separator if text else ""
        spans.append([(len(text), len(text) + len(name))])
        text += name
    return text, spans


@settings(max_examples=200, deadline=None)
@given(names=NAMES)
@example(names=["cat", "cat food", "cat", "Cat"])
@example(names=["car", "scar", "a car a"])
@example(names=["U.S. mail", "St. Bernard", "."])
@example(names=["İstanbul İİ", "e\u0301cole", "猫 dog"])  # lower case or accents change the number of characters
def test_every_name_owns_exactly_its_own_tokens(names: list[str]) -> None:
    text, spans = joined(names)
    encoded = TOKENIZER.encode([text])[0]
    rows = positive_tokens(spans, encoded.offsets, len(encoded) + 3)
    assert rows.shape == (len(names), len(encoded) + 3)
    for name, row in zip(names, rows, strict=True):
        owned = [encoded.token_ids[index] for index in row.nonzero()[:, 0].tolist()]
        assert owned == list(TOKENIZER.encode([name])[0].token_ids[1:-1])
    separators = 2 + max(len(names) - 1, 0)  # [CLS], [SEP] and the full stops between
    assert int((rows.sum(dim=0) == 0).sum()) == separators + 3
    assert not (rows.sum(dim=0) > 1).any()


def test_a_phrase_may_have_several_spans() -> None:
    offsets = [(0, 0), (0, 3), (4, 10), (10, 11), (12, 16), (0, 0)]  # "red circle, blue"
    rows = positive_tokens([[(0, 3), (12, 16)], [(4, 10)]], offsets, 6)
    assert rows.int().tolist() == [[0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0]]


def test_a_token_that_is_only_partly_covered_belongs_to_the_phrase() -> None:
    offsets = [(0, 0), (0, 4), (4, 8), (0, 0)]
    assert positive_tokens([[(3, 5)]], offsets, 4).int().tolist() == [[0, 1, 1, 0]]
    assert positive_tokens([[(4, 8)]], offsets, 4).int().tolist() == [[0, 0, 1, 0]]  # touching is not sharing


@pytest.mark.parametrize(("phrases", "count"), [([], 0), ([[]], 1), ([[(2, 2)]], 1)])
def test_a_phrase_without_characters_owns_nothing(phrases: list[list[Span]], count: int) -> None:
    rows = positive_tokens(phrases, [(0, 0), (0, 4), (0, 0)], 5)
    assert rows.dtype == torch.bool
    assert rows.shape == (count, 5)
    assert not rows.any()
