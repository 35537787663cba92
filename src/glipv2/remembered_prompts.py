"""The prompts of vocabularies that were asked for before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.remembering import remember
from glipv2.structures import Prompt, Vocabulary
from glipv2.tokenizer import Tokenizer


class RememberedPrompts:
    """Prompts by the names and how they are worded, made when first asked for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._made: dict[Any, tuple[PromptComposer, list[Prompt]]] = {}

    def all_names(self, vocabulary: Vocabulary, config: PromptConfig) -> list[Prompt]:
        """See `PromptComposer`."""
        return self._of(vocabulary, config)[1]

    def some_names(self, vocabulary: Vocabulary, config: PromptConfig, labels: Sequence[int]) -> list[Prompt]:
        """See `PromptComposer`."""
        return self._of(vocabulary, config)[0].some_names(labels)

    def _of(self, vocabulary: Vocabulary, config: PromptConfig) -> tuple[PromptComposer, list[Prompt]]:
        key = (vocabulary.names, repr(config), *map(_stamp, (config.captions_file, config.knowledge)))
        if key in self._made:
            return self._made[key]
        composer = PromptComposer(vocabulary, self._tokenizer, config)
        return remember(self._made, key, (composer, composer.all_names()))


def _stamp(path: str | None) -> tuple[int, int] | None:
    """What changes when somebody edits the file."""
    if not path or not (file := Path(path).expanduser()).is_file():
        return None
    found = file.stat()
    return found.st_mtime_ns, found.st_size
