"""The text of recorded cases: which characters their token ids came from, on machines without BERT's vocabulary."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from types import SimpleNamespace
from typing import Any, cast

from numpy.typing import NDArray
from torch import Tensor

from glipv2.checkpoints import BERT_PIECES
from glipv2.errors import UserError
from glipv2.structures import positive_tokens
from glipv2.structures.prompts import Span
from glipv2.tokenizer import Tokenizer, TokenizerConfig

Case = dict[str, NDArray[Any]]
Pieces = dict[str, tuple[int, ...]]  # of a word

WORD = re.compile(r"[^\W_]+|[^\w\s]|_")  # BERT splits texts so before it looks for pieces
FULL_STOP = 1012  # in BERT's vocabulary, like the special tokens
SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102}
MOST_READINGS = 1000  # of a run of words; more need not be looked at to know that they are ambiguous
MOST_TRIALS = 100_000  # of words' pieces on the way there


class CaptionBackend:
    """Stands in for BERT's tokenizer: knows the words of one caption from its token ids.

    Between two full stops with as many tokens as words each word is a token. Where words have several
    tokens the rest follows from words known already; what remains open is guessed, see `guessed`.
    """

    def __init__(self, caption: str, token_ids: Sequence[int]) -> None:
        self.ends = (token_ids[0], token_ids[-1])
        self.words: Pieces = {".": (FULL_STOP,)}
        self.guessed: list[Span] = []  # stretches of the caption in which only all tokens together are sure
        inner = list(token_ids[1:-1])
        words = [(match[0], match.span()) for match in WORD.finditer(caption.lower())]
        runs = _between(words, [word == "." for word, _ in words])
        ids = _between(inner, [token == FULL_STOP for token in inner])
        pairs = sorted(zip(runs, ids, strict=False), key=lambda pair: len(pair[1]) - len(pair[0]))
        for run, tokens in pairs:
            ways = _readings([word for word, _ in run], tokens, self.words, iter(range(MOST_TRIALS)))
            readings = list(islice(ways, MOST_READINGS))
            self.words = max(readings, key=_plausibility, default=self.words)
            self.guessed += [(run[0][1][0], run[-1][1][1])] if len(readings) > 1 else []
        if self.encode(caption).ids != list(token_ids):
            raise UserError(f"input_ids {list(token_ids)} are not BERT's tokens of the caption '{caption}'")

    def encode(self, text: str, add_special_tokens: bool = True) -> SimpleNamespace:
        """Ids and offsets; a word that the caption does not have is unknown."""
        ids: list[int] = []
        offsets: list[Span] = []
        for match in WORD.finditer(text.lower()):
            pieces = self.words.get(match[0], (SPECIAL["[UNK]"],))
            ids += pieces
            offsets += _shares(match.start(), len(match[0]), len(pieces))
        if add_special_tokens:
            ids, offsets = [self.ends[0], *ids, self.ends[1]], [(0, 0), *offsets, (0, 0)]
        return SimpleNamespace(ids=ids, offsets=offsets)

    def get_vocab_size(self) -> int:
        """As the released text encoder's."""
        return BERT_PIECES

    def token_to_id(self, token: str) -> int | None:
        """Special tokens only."""
        return SPECIAL.get(token)


def _between(values: Sequence[Any], stops: Sequence[bool]) -> list[list[Any]]:
    """The runs of values between those marked as stops."""
    runs: list[list[Any]] = [[]]
    for value, stop in zip(values, stops, strict=True):
        if stop:
            runs.append([])
        else:
            runs[-1].append(value)
    return runs


def _readings(words: Sequence[str], ids: Sequence[int], known: Pieces, trials: Iterator[int]) -> Iterator[Pieces]:
    """The ways to cut ids into the words' pieces, one or more a word and the same for the same word."""
    if not words:
        if not ids:
            yield dict(known)
        return
    word, spare = words[0], len(ids) - len(words)
    for length in range(1, spare + 2):
        pieces = tuple(ids[:length])
        if known.get(word, pieces) == pieces and next(trials, None) is not None:
            yield from _readings(words[1:], ids[length:], {**known, word: pieces}, trials)


def _plausibility(words: Pieces) -> int:
    """Long words are likelier to have several pieces."""
    return sum(len(word) * len(pieces) for word, pieces in words.items())


def _shares(start: int, length: int, count: int) -> list[Span]:
    """A word's characters dealt out to its pieces; their true borders are not known."""
    cuts = [start + length * index // count for index in range(count + 1)]
    return [(begin, max(end, begin + 1)) for begin, end in pairwise(cuts)]


@dataclass
class CaptionTokenizer(TokenizerConfig):
    """See `CaptionBackend`."""

    caption: str = ""
    token_ids: list[int] = field(default_factory=list)

    @property
    def backend(self) -> CaptionBackend:
        """What knows the caption; UserError when the ids are not of its words."""
        return CaptionBackend(self.caption, self.token_ids)

    def build(self) -> Tokenizer:
        """The tokenizer of this caption."""
        return Tokenizer(cast("Any", self.backend), self.max_tokens)


def tokenizer_of(case: Case, source: str | None) -> TokenizerConfig:
    """The tokenizer at `source`, or the one that the case's own ids make up; UserError when it gives other ids."""
    ids, caption = case["input_ids"].reshape(-1).tolist(), str(case["caption"])
    config = TokenizerConfig(source) if source else CaptionTokenizer(caption=caption, token_ids=ids)
    found = list(config.build().encode([caption])[0].token_ids)
    if found != ids:
        raise UserError(f"the tokenizer {source} makes {found} of '{caption}', but the case has {ids}")
    return config


def phrase_tokens(phrases: Sequence[Sequence[Span]], case: Case, tokenizer: TokenizerConfig) -> Tensor:
    """Bool [P, L]: the tokens of each phrase (its spans of the caption); says so on stderr where they are guessed."""
    guessed = tokenizer.backend.guessed if isinstance(tokenizer, CaptionTokenizer) else []
    for begin, end in [span for spans in phrases for span in spans]:
        if any(first < begin < last or first < end < last for first, last in guessed):
            part = str(case["caption"])[begin:end]
            print(f"which tokens are '{part}' is guessed from input_ids; --tokenizer would know", file=sys.stderr)
    text = tokenizer.build().encode([str(case["caption"])])[0]
    return positive_tokens(phrases, text.offsets, len(text))


def name_spans(case: Case) -> list[list[Span]]:
    """Where each name stands in the caption, one after the other."""
    caption, spans, start = str(case["caption"]), [], 0
    for name in case["names"].tolist():
        begin = caption.lower().find(str(name).lower(), start)
        if begin < 0:
            raise UserError(f"the caption '{caption}' does not hold the name '{name}' where it is due")
        start = begin + len(name)
        spans.append([(begin, start)])
    return spans
