"""Numbers as short as they can be written so that a reader gets the same 32-bit value back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from glipv2.data.coco import MIN_SIDE

DIGITS = 15  # after the point; beyond, a 64-bit number says no more


def shortest(value: float, is_read: Callable[[float], bool]) -> float:
    """The value rounded to the fewest digits with which `is_read` holds, else as it is; whole ones as int."""
    for digits in range(DIGITS):
        rounded = round(value, digits)
        if is_read(rounded):
            return int(rounded) if digits == 0 else rounded
    return value


def plain(value: float) -> float:
    """A 32-bit value that is read as it is written."""
    return shortest(value, lambda written: same(written, value))


def same(written: float, value: float) -> bool:
    """Whether a number becomes this 32-bit value."""
    return bool(np.float32(written) == np.float32(value))


def left_top_sides(corners: list[float]) -> list[float]:
    """COCO's [left, top, width, height] of [left, top, right, bottom]."""
    left, top = map(plain, corners[:2])
    return [left, top, _side(left, corners[2]), _side(top, corners[3])]


def _side(first: float, last: float) -> float:
    return shortest(last - first, lambda side: side >= MIN_SIDE and same(first + side, last))
