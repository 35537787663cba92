"""Axes of a chart: where values lie, and which round numbers stand beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` (low < high), marked at `ticks`; `log` spaces decades evenly."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 at `low` and 1 at `high`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear_axis(values: Sequence[float], ticks: int = 5, *, tight: bool = False, from_zero: bool = False) -> Axis:
    """An axis over finite values with about `ticks` round ticks.

    tight: ends at the extreme values instead of at round ones; from_zero: includes 0.
    """
    low, high = _widened(min(values, default=0.0), max(values, default=1.0), from_zero)
    step = round_step((high - low) / max(1, ticks))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = [_clean(index * step) for index in range(first, last + 1)]
    if not tight:
        return Axis(marks[0], marks[-1], tuple(marks))
    margin = 1e-9 * (high - low)
    return Axis(low, high, tuple(mark for mark in marks if low - margin <= mark <= high + margin))


def log_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis over positive finite values; ticks at decades, or at 1, 2, 5 when these are few."""
    low, high = min(values, default=1.0), max(values, default=10.0)
    assert low > 0, "a logarithmic axis holds positive values only"
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    fine = [_clean(digit * 10.0**decade) for decade in decades for digit in (1, 2, 5)]
    bottom = max(mark for mark in fine if mark <= low * (1 + 1e-9))
    top = min(mark for mark in fine if mark >= high * (1 - 1e-9) and mark > bottom)
    coarse = [10.0**decade for decade in decades if bottom <= 10.0**decade <= top]
    marks = coarse if len(coarse) >= 3 else [mark for mark in fine if bottom <= mark <= top]
    return Axis(bottom, top, tuple(marks), log=True)


def round_step(wanted: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below `wanted` (> 0)."""
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(power * step for step in ROUND_STEPS if power * step >= wanted * (1 - 1e-9))


def tick_text(value: float) -> str:
    """A tick in few characters: 0.25, 20k, 1.5M, 1e-4."""
    size = abs(value)
    if size >= 1e9 or 0 < size <= 1e-3:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if size >= 1e4 else f"{value:.6g}"


def _widened(low: float, high: float, from_zero: bool) -> tuple[float, float]:
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low > 1e-12 * max(abs(low), abs(high), 1e-300):
        return low, high
    if low == 0:
        return 0.0, 1.0
    return low - abs(low) / 2, high + abs(low) / 2  # a constant gets room on both sides


def _clean(value: float) -> float:
    """Without the last digits that multiplying by 0.1 leaves behind."""
    return float(f"{value:.10g}")
