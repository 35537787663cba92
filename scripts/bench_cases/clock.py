"""Ways of doing the same work, timed in turn: A B A B …, so that a busy machine slows both alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

SHORTEST = 0.05  # seconds: shorter work is repeated within a round, for the clock's and the scheduler's sake

Work = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """Seconds of each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle round."""
        return median(self.seconds)

    def against(self, other: Timing) -> float:
        """The time as a share of another's, the median over pairs of neighbouring rounds: drift falls out."""
        return median(own / theirs for own, theirs in zip(self.seconds, other.seconds, strict=True))


def timed(ways: Mapping[str, Work], device: torch.device, rounds: int, warm_up: int = 1) -> dict[str, Timing]:
    """Each way's time, after `warm_up` untimed rounds."""
    repeats = dict.fromkeys(ways, 1)
    for _ in range(warm_up):
        for name, work in ways.items():
            once = _seconds(work, device, 1)
            repeats[name] = max(1, math.ceil(SHORTEST / max(once, 1e-6)))
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            found[name].append(_seconds(work, device, repeats[name]))
    return {name: Timing(tuple(seconds)) for name, seconds in found.items()}


def _seconds(work: Work, device: torch.device, repeats: int) -> float:
    """Seconds a call, until the device has done it."""
    finish(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    finish(device)
    return (time.perf_counter() - begun) / repeats


def finish(device: torch.device) -> None:
    """Waits for what was asked of a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
