"""What values a number of a config takes: said beside its default, held when a command is composed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from glipv2.errors import UserError

Value = TypeVar("Value", int, float, list[int], list[float])


@dataclass(frozen=True)
class Range:
    """Bounds that belong to what they bound, of a number or of each in a list; length: of a list, None for any."""

    low: float
    high: float = math.inf
    length: int | None = None

    def told(self) -> str:
        """As in "expected …"."""
        bounds = f"at least {self.low:g}" if self.high == math.inf else f"{self.low:g} to {self.high:g}"
        return bounds if self.length is None else f"{self.length} numbers of {bounds}"


def at_least(low: float, default: Value, length: int | None = None) -> Value:
    """A dataclass field for numbers from `low` on."""
    return within(low, math.inf, default, length)


def share(default: Value, length: int | None = None) -> Value:
    """A dataclass field for probabilities and shares."""
    return within(0, 1, default, length)


def within(low: float, high: float, default: Value, length: int | None = None) -> Value:
    """A dataclass field for numbers of `low` to `high`, or lists of them."""
    made: Any = {"metadata": {"range": Range(low, high, length)}}
    if isinstance(default, list):
        made["default_factory"] = lambda: list(default)
    else:
        made["default"] = default
    return field(**made)  # type: ignore[no-any-return]


def check_ranges(config: Any, prefix: str = "") -> None:
    """UserError for the first number of a config, or of one in it, that is out of its range or no number at all."""
    for entry in dataclasses.fields(config):
        name, value = f"{prefix}{entry.name}", getattr(config, entry.name)
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{name}.")
            continue
        given: Range | None = entry.metadata.get("range")
        if given and given.length is not None and len(value) != given.length:
            raise UserError(f"{name}: expected {given.told()}, but got {value}")
        for number in _numbers(value):
            if not math.isfinite(number):
                raise UserError(f"{name}: expected a number, but got {number}")
            if given and not given.low <= number <= given.high:
                raise UserError(f"{name}: expected {given.told()}, but got {number:g}")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)
