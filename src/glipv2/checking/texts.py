"""Checks of captions and questions: one function a check."""

from __future__ import annotations

from collections.abc import Iterator

from glipv2.checking.boxes import place_of_image
from glipv2.checking.counts import texts_of
from glipv2.checking.findings import Finding
from glipv2.structures import ImageTruth
from glipv2.tokenizer import Tokenizer


def long_texts(truth: ImageTruth, tokenizer: Tokenizer, file: str) -> Iterator[Finding]:
    """Texts of more tokens than a prompt has: training would stop at them."""
    most = tokenizer.max_tokens
    for text in texts_of(truth):
        size = len(text.text.encode("utf-8", errors="surrogatepass"))
        if size < most - tokenizer.special_tokens:  # a token has a byte at least, but not a character: 犬 may be three
            continue
        count = len(tokenizer.pieces(text.text)) + tokenizer.special_tokens
        if count > most:
            what = f"'{text.text[:40]}…' has {count} tokens, the model reads {most}"
            yield Finding("E404", file, place_of_image(truth), what, truth.name)


def broken_words(truth: ImageTruth, file: str) -> Iterator[Finding]:
    """Spans that begin or end within a word: counted in bytes, in tokens, or from 1."""
    for text in texts_of(truth):
        own = text.text
        for begin, end in {span for phrase in text.phrases for span in phrase.spans}:
            words = f"'{own[begin:end]}' [{begin}, {end}] of '{own[:60]}'"
            if not own[begin:end].strip():
                yield Finding("E401", file, place_of_image(truth), f"the span {words} holds no word", truth.name)
            elif _joins(own, begin) or _joins(own, end):
                yield Finding("W405", file, place_of_image(truth), f"the span {words} cuts a word", truth.name)


def _joins(text: str, place: int) -> bool:
    """Whether a word goes on across a place."""
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()
