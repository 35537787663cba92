"""Which samples a training batch is made of: a function of the seed and of how many batches came before, no more.

Nothing here has a state of its own, so a run that begins at any batch goes on as if it had never stopped.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import Sampler


@dataclass(frozen=True)
class Draw:
    """A sample to train on, and the seed of everything that is random about it: augmentation, prompt, texts."""

    index: int
    seed: int


@runtime_checkable
class OwnOrder(Protocol):
    """A data set that says in which order it is read best, as one whose samples lie in shards."""

    def order(self, seed: int) -> Tensor:
        """A permutation int64 [N] for one pass; another seed gives another."""


class TrainingOrder(Sampler[list[Draw]]):
    """Endless batches of this rank. Each pass over the data is a new permutation, of which the rest is dropped.

    All ranks together take `batch_size` × `world` samples of the permutation at a step, one after the other in turn,
    so that one process with batches of 4 and two with batches of 2 train on the same samples at the same step.
    samples: where the permutations come from when it is an `OwnOrder`; start: the batch to begin with.
    """

    def __init__(
        self, count: int, batch_size: int, seed: str, *, rank: int = 0, world: int = 1, samples: object = None
    ) -> None:
        self.count, self.batch_size, self.seed, self.rank, self.world = count, batch_size, seed, rank, world
        self.start = 0
        self._own = samples if isinstance(samples, OwnOrder) else None
        self._permuted: tuple[int, Tensor] | None = None
        assert self.per_pass > 0, f"{count} samples are fewer than a batch of {self.step_size}"

    @property
    def step_size(self) -> int:
        """Samples of a batch of all ranks."""
        return self.batch_size * self.world

    @property
    def per_pass(self) -> int:
        """Batches in a pass over the data."""
        return self.count // self.step_size

    def __iter__(self) -> Iterator[list[Draw]]:
        return map(self.batch, itertools.count(self.start))

    def place_of(self, number: int) -> tuple[int, int]:
        """The pass that a batch is in, and how many samples of that pass all ranks take before it."""
        number_of_pass, place = divmod(number, self.per_pass)
        return number_of_pass, place * self.step_size

    def number_at(self, number_of_pass: int, taken: int) -> int:
        """The batch that begins at such a place, or the last one before it; the next pass's first within the rest."""
        return number_of_pass * self.per_pass + min(taken // self.step_size, self.per_pass)

    def batch(self, number: int) -> list[Draw]:
        """The draws of this rank for a batch, counted from the beginning of training."""
        number_of_pass, taken = self.place_of(number)
        rows = self._permutation(number_of_pass)[taken : taken + self.step_size]
        return [
            Draw(index, seed_of(self.seed, number_of_pass, index)) for index in rows[self.rank :: self.world].tolist()
        ]

    def _permutation(self, number_of_pass: int) -> Tensor:
        if self._permuted is None or self._permuted[0] != number_of_pass:
            seed = seed_of(self.seed, number_of_pass, "order")
            if self._own is not None:
                rows = self._own.order(seed)
            else:
                rows = torch.randperm(self.count, generator=torch.Generator().manual_seed(seed))
            self._permuted = number_of_pass, rows
        return self._permuted[1]


def seed_of(*parts: object) -> int:
    """A seed of 62 bits, the same everywhere for the same parts."""
    return random.Random("/".join(map(str, parts))).getrandbits(62)


def drawn_seed() -> int:
    """A seed from torch's random numbers, for what is not drawn by an order."""
    return int(torch.randint(2**62, ()))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers on the CPU follow from the seed inside, and go on outside as if nothing had been drawn."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
