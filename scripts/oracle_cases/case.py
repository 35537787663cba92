"""One data set with the numbers an oracle gave for it, and how this project's metrics are asked for the same."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glipv2.errors import UserError

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Unmeasured:
    """Stands where an oracle has numbers that this project's metrics do not give."""

    why: str


@dataclass(frozen=True)
class Case:
    """`expected` and what `measure` gives are numbers in dicts and lists of the same shape.

    note: what a reader of the numbers should know about this case.
    """

    name: str
    expected: Any
    measure: Callable[[], Any]
    tolerance: float = TOLERANCE
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One number. measured is NaN where `why` says why there is none."""

    name: str
    expected: float
    measured: float
    tolerance: float
    why: str = ""

    @property
    def difference(self) -> float:
        """|measured - expected|; 0 where nothing had to be measured, infinite where it should have been."""
        if not math.isnan(self.measured):
            return abs(self.measured - self.expected)
        return 0.0 if self.why else math.inf


def rows_of(case: Case) -> Iterator[Row]:
    """Every expected number with the measured one. A refusal that the oracle shares is a row without numbers."""
    expected = dict(_flat(case.expected, case.name))
    refusal = next((str(value) for name, value in expected.items() if name.endswith("/raises")), "")
    try:
        measured = dict(_flat(case.measure(), case.name))
    except (UserError, ValueError) as error:
        why = f"refused, as by the oracle ({refusal}): {error}" if refusal else ""
        yield Row(f"{case.name}{'' if refusal else f': {error}'}", math.nan, math.nan, case.tolerance, why)
        return
    if refusal:
        values = sorted({f"{value:g}" for value in measured.values() if isinstance(value, (int, float))})
        why = f"the oracle refuses it ({refusal}); defined here: {', '.join(values)}"
        yield Row(case.name, math.nan, math.nan, case.tolerance, why)
        return
    gaps = {name: value.why for name, value in measured.items() if isinstance(value, Unmeasured)}
    for name, number in expected.items():
        if isinstance(number, str):
            continue
        why = next((gap for prefix, gap in gaps.items() if f"{name}/".startswith(f"{prefix}/")), "")
        own = measured.get(name, math.nan)
        yield Row(name, number, math.nan if why else own, case.tolerance, why)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Leaves by path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}/{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{name}/{index}")
    else:
        yield name, value


def read(path: Path) -> Any:
    """A JSON file; UserError where it is missing or no JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError:
        raise UserError(f"{path} is missing; give a folder of the layout that its README describes") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
