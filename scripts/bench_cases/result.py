"""What a case tells: one row a claim, as plain values that JSON holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bench_cases.clock import Timing

RATIO, SECONDS, GIGABYTES, RATE = "×", "s", "GB", "images/s"


@dataclass(frozen=True)
class Row:
    """One number. must and aim: bounds from above where there are any; ways: seconds of each round by name.

    curve and at: a point of a curve ("image side", 800.0); measured None: not measured here, and note says why.
    """

    case: str
    name: str
    measured: float | None
    unit: str
    must: float | None = None
    aim: float | None = None
    ways: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    note: str = ""
    curve: str = ""
    at: float | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def ratio_row(
    case: str, name: str, times: Mapping[str, Timing], ours: str, other: str, *, must: float | None = None,
    aim: float | None = None, note: str = "",
) -> Row:  # fmt: skip
    """The time of one way as a share of another's."""
    rounds = {way: timing.seconds for way, timing in times.items()}
    return Row(case, name, times[ours].against(times[other]), RATIO, must, aim, rounds, note)


def time_rows(case: str, name: str, times: Mapping[str, Timing], note: str = "") -> list[Row]:
    """Every way's own time."""
    return [
        Row(case, f"{name}: {way}", timing.median, SECONDS, ways={way: timing.seconds}, note=note)
        for way, timing in times.items()
    ]


def skipped(case: str, name: str, why: str) -> Row:
    """A claim that can't be measured here."""
    return Row(case, name, None, "", note=why)
