"""Memories that don't grow for ever."""

from __future__ import annotations

from typing import TypeVar

MOST = 256  # vocabularies or prompts; a service is asked for ever other names

Key = TypeVar("Key")
Value = TypeVar("Value")


def remember(memory: dict[Key, Value], key: Key, value: Value, most: int = MOST) -> Value:
    """Puts a value into a memory, which forgets its oldest entries beyond `most`; gives the value back."""
    while len(memory) >= most:
        del memory[next(iter(memory))]
    memory[key] = value
    return value
