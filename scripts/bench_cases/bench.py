"""What every case is given: the device, how thorough to be, and models that are built once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from bench_cases.clock import Timing, Work, timed
from bench_cases.floor import peak_rate
from bench_cases.models import Detector, GroundingDino

FULL_SIZE = (800, 1333)  # (height, width) of an image that fills the released bounds
SMALL_SIZE = (400, 640)
TINY_SIZE = (64, 96)


@dataclass
class Bench:
    """quick: fewer rounds and points; tiny: everything on tiny images, to see whether it runs at all."""

    device: torch.device
    quick: bool = False
    rounds: int = 5
    tiny: bool = False
    built: dict[str, Any] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        """Whether a full-size pass takes milliseconds."""
        return self.device.type == "cuda"

    @property
    def full(self) -> tuple[int, int]:
        """Of what has to be measured at the released size."""
        return TINY_SIZE if self.tiny else FULL_SIZE

    @property
    def size(self) -> tuple[int, int]:
        """Of everything else: smaller on a CPU, where it would take an hour."""
        return self.full if self.on_gpu or self.tiny else SMALL_SIZE

    @property
    def detector(self) -> Detector:
        """GLIP-T."""
        return self._once("detector", lambda: Detector("glip_t", self.device).eval())  # type: ignore[no-any-return]

    @property
    def dino(self) -> GroundingDino:
        """GroundingDINO-T."""
        queries = 100 if self.tiny else 900  # no more than there are positions
        return self._once("dino", lambda: GroundingDino(self.device, queries).eval())  # type: ignore[no-any-return]

    @property
    def peak(self) -> float:
        """Operations a second of float32 matrix products here."""
        return self._once("peak", lambda: peak_rate(self.device))  # type: ignore[no-any-return]

    def times(self, ways: Mapping[str, Work], rounds: int | None = None, warm_up: int = 1) -> dict[str, Timing]:
        """See `timed`; without gradients being recorded unless a way records its own."""
        return timed(ways, self.device, rounds or self.rounds, warm_up)

    def _once(self, name: str, build: Callable[[], Any]) -> Any:
        if name not in self.built:
            torch.manual_seed(0)
            self.built[name] = build()
        return self.built[name]
