"""Ids of images whose format gives them none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

NUMBER = re.compile(r"(?:^|\D)(\d{1,18})$")  # at the end of a file's name without suffix: COCO_val2014_000000000042


def number_of(name: str) -> int | None:
    """The number at the end of a file's name, None where there is none."""
    found = NUMBER.search(PurePosixPath(name).stem)
    return int(found[1]) if found else None


def ids_of(names: Sequence[str]) -> list[int]:
    """The numbers at the end of the names where every name has another one, else 1, 2, 3, …"""
    numbers = [number_of(name) for name in names]
    own = [number for number in numbers if number is not None]
    return own if len(set(own)) == len(names) else list(range(1, len(names) + 1))
