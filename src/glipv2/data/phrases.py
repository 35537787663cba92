"""Names as they stand in prompts, each checked to own its tokens and cut to what a prompt holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from glipv2.data.wordings import Wording, spoken_name
from glipv2.errors import UserError
from glipv2.structures import TokenizedText, Vocabulary
from glipv2.tokenizer import Tokenizer

log = logging.getLogger(__name__)

SHOWN = 5  # names in one warning
NEIGHBOUR = "x"  # stands in for the names beside a phrase when its tokens are looked at


@dataclass(frozen=True)
class PhraseText:
    """One name in a prompt. Only `name` stands for the object; the text before and after belongs to nobody.

    token_ids: of the whole text between two separators. Names with equal ones read the same to the model.
    cost: its tokens at any place of a prompt, the separators not counted.
    """

    before: str
    name: str
    after: str
    token_ids: tuple[int, ...]
    cost: int


class PhraseBook:
    """The phrases of a vocabulary in order, for one separator.

    wordings: by name, where a name has one; knowledge: a text by name, appended as ", text" and cut
    to `knowledge_tokens` (0 = what is left of a prompt). A phrase longer than a whole prompt is cut
    between words or, within a word, between tokens: of knowledge, suffix, prefix and name in this order.

    Everything worth knowing is warned about once, and kept: `cut` phrases, `trimmed` knowledge, names of
    `unknown` tokens only, names that read the same (`alike`). Raises UserError for a name without a token,
    and where a name shares a token with the text beside it.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        separator: str,
        wordings: dict[str, Wording],
        knowledge: dict[str, str],
        knowledge_tokens: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.separator = separator
        self.budget = tokenizer.max_tokens - tokenizer.special_tokens
        if self.budget < 1:
            raise UserError(
                f"a prompt of {tokenizer.max_tokens} tokens holds no name; raise model.tokenizer.max_tokens"
            )
        self.separator_cost = max(tokenizer.count(f"{NEIGHBOUR}{separator}{NEIGHBOUR}") - 2, 0)
        self._knowledge_tokens = knowledge_tokens
        self.cut: list[str] = []
        self.trimmed: list[str] = []
        self.unknown: list[str] = []
        self.phrases = [
            self._phrase(name, wordings.get(name, Wording()), knowledge.get(name, "")) for name in vocabulary.names
        ]
        self.alike: list[list[str]] = []
        self._warn(vocabulary.names)

    def fits(self, used: int, label: int) -> bool:
        """Whether a prompt with `used` tokens (0 = an empty one) has room for one name more."""
        return self.after(used, label) <= self.budget

    def after(self, used: int, label: int) -> int:
        """The tokens of a prompt with `used` tokens when one name more is in it."""
        return used + (self.separator_cost if used else 0) + self.phrases[label].cost

    def _phrase(self, own: str, wording: Wording, knowledge: str) -> PhraseText:
        name = spoken_name(own) if wording.name is None else wording.name
        before, name, after = self._fitted(own, wording.prefix, name, wording.suffix)
        after += self._known(own, before + name + after, knowledge) if knowledge else ""
        return self._checked(own, before, name, after)

    def _fitted(self, own: str, before: str, name: str, after: str) -> tuple[str, str, str]:
        count = self.tokenizer.count
        if count(before + name + after) <= self.budget:
            return before, name, after
        kept = self.tokenizer.head(name, self.budget, whole_words=False)
        room = self.budget - count(kept)
        before = before if count(before) <= room else ""
        after = self.tokenizer.head(after, room - count(before)) if kept == name else ""
        self.cut.append(f"{_quoted(own)} to '…{(before + kept + after)[-30:]}'")
        return before, kept, after

    def _known(self, own: str, text: str, knowledge: str) -> str:
        room = self.budget - self.tokenizer.count(text) - self.tokenizer.count(",")
        if self._knowledge_tokens:
            room = min(room, self._knowledge_tokens)
        kept = self.tokenizer.head(knowledge, room)
        if kept != knowledge:
            self.trimmed.append(_quoted(own))
        return f", {kept}" if kept else ""

    def _checked(self, own: str, before: str, name: str, after: str) -> PhraseText:
        """The phrase with its tokens, read as between two others."""
        edge = NEIGHBOUR + self.separator
        text = edge + before + name + after + self.separator + NEIGHBOUR
        read = self.tokenizer.pieces(text)
        begin = len(edge) + len(before)
        tokens = _within(read, begin, begin + len(name))
        ids = tuple(read.token_ids[token] for token in tokens)
        if not ids:
            raise UserError(
                f"the name {own!r} has no token, the model could not see it; rename it, or give it words: "
                f"data.prompts.captions with a 'name'"
            )
        outside = "".join(
            text[read.offsets[token][0] : begin] + text[begin + len(name) : read.offsets[token][1]] for token in tokens
        )
        if outside.strip() or ids not in self._alone(name):
            raise UserError(
                f"the name {own!r} runs into the text beside it: '{text[len(NEIGHBOUR) : -len(NEIGHBOUR)]}'; put a "
                f"space at the ends of the separator, of the prefix and of the suffix"
            )
        if all(token_id == self.tokenizer.unknown_id for token_id in ids):
            self.unknown.append(_quoted(own))
        whole = _within(read, len(edge), len(text) - len(edge))
        first = self.tokenizer.count(before + name + after)  # more at a start, where a tokenizer joins spaces to words
        return PhraseText(before, name, after, tuple(read.token_ids[token] for token in whole), max(len(whole), first))

    def _alone(self, name: str) -> tuple[tuple[int, ...], ...]:
        """The tokens of a name that nothing stands beside, at the start of a text and after a space."""
        text = f"{NEIGHBOUR} {name} {NEIGHBOUR}"
        read = self.tokenizer.pieces(text)
        tokens = _within(read, len(NEIGHBOUR) + 1, len(NEIGHBOUR) + 1 + len(name))
        return self.tokenizer.pieces(name).token_ids, tuple(read.token_ids[token] for token in tokens)

    def _warn(self, names: Sequence[str]) -> None:
        reports = (
            (self.cut, f"phrases longer than a prompt of {self.budget} tokens were cut"),
            (self.trimmed, "the knowledge of these names was cut to fit"),
            (self.unknown, "the tokenizer knows no part of these names, the model reads them as unknown"),
        )
        for found, words in reports:
            if found:
                log.warning("%s: %s", words, listed(found))
        same: dict[tuple[int, ...], list[str]] = {}
        for name, phrase in zip(names, self.phrases, strict=True):
            same.setdefault(phrase.token_ids, []).append(_quoted(name))
        self.alike = [group for group in same.values() if len(group) > 1]
        groups = [" = ".join(group[:SHOWN]) for group in self.alike]
        if groups:
            log.warning(
                "the model can't tell these names apart, they read the same: %s; rename them, or give them words "
                "with data.prompts.captions", listed(groups),
            )  # fmt: skip


def _within(read: TokenizedText, begin: int, end: int) -> list[int]:
    """The tokens that share a character with [begin, end)."""
    return [index for index, (first, last) in enumerate(read.offsets) if first < end and begin < last and first < last]


def _quoted(name: str) -> str:
    return f"'{name[:40]}…'" if len(name) > 41 else f"'{name}'"


def listed(items: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more
