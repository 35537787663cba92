"""Differences between two arms, seed by seed, and what they decide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np

from glipv2.report.seeds import interval

RESAMPLES = 10_000
POWER = 1.96 + 0.84  # standard errors that an effect must measure to be found in four of five experiments
SUPPORTED, CONTRADICTED, UNDECIDED, NOTHING = "supported", "contradicted", "undecided", "next to nothing on both sides"


@dataclass(frozen=True)
class Difference:
    """Seed by seed, one arm less another. low, high: 95 % of bootstrap means; spread: half the 95 % interval of
    Student's t, None for one seed. nothing: whether both arms found too little for a difference to mean anything.
    """

    values: tuple[float, ...]
    low: float
    high: float
    spread: float | None
    nothing: bool = False

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return mean(self.values)

    def verdict(self, expected: int) -> str:
        """Decided where both intervals leave out zero: resampling three or five numbers alone promises too much.

        expected: the sign that the claim gives the difference.
        """
        if self.nothing:
            return NOTHING
        if self.spread is None or self.low <= 0 <= self.high or abs(self.mean) <= self.spread:
            return UNDECIDED
        return SUPPORTED if self.mean * expected > 0 else CONTRADICTED

    def seeds_needed(self) -> int | None:
        """How many seeds would decide an effect of this size four times in five; None where there is none."""
        if len(self.values) < 2 or self.mean == 0:
            return None
        return max(2, math.ceil((POWER * stdev(self.values) / self.mean) ** 2))


def paired(with_it: Mapping[int, float], without: Mapping[int, float], floor: float = 0) -> Difference:
    """Over the seeds that both arms have; there is at least one. floor: below which an arm has found nothing."""
    seeds = sorted(with_it.keys() & without.keys())
    values = tuple(with_it[seed] - without[seed] for seed in seeds)
    low, high = bootstrap(values)
    nothing = max(mean(arm.values()) for arm in (with_it, without)) < floor
    return Difference(values, low, high, interval(values), nothing)


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The middle 95 % of the means of samples drawn with replacement, 10 000 of them, always the same."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
