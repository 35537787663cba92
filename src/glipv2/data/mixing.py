"""The training batches of a run, of one task or of several in one stream, from any batch on."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader

from glipv2.data.order import TrainingOrder
from glipv2.structures import ImageTruth, TensorStruct


@dataclass(frozen=True)
class RoutedBatch(TensorStruct):
    """A batch and the name of the task that it is for."""

    task: str
    batch: Any

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def truth(self) -> tuple[ImageTruth, ...]:
        """Of the batch inside."""
        truth: tuple[ImageTruth, ...] = self.batch.truth
        return truth


@dataclass(frozen=True)
class Source:
    """The batches of one task. weight: how often one of them is drawn, relative to other tasks."""

    loader: DataLoader[Any]
    order: TrainingOrder
    weight: float = 1.0


class TrainingStream:
    """Draws the task of each step by weight, and that task's next batch.

    Those of a single task come bare unless `routed`.

    The draw depends on the seed and the step alone: all ranks train the same task at the same step, so that no rank
    waits in a reduction that the others never enter. length: how many batches it has, from the beginning of training;
    done: tells how many of them have been trained on, which is where the stream begins. Lightning stores `state_dict`
    with a checkpoint. After a resumption with another number of samples a step it goes on at the same sample.
    """

    def __init__(
        self, sources: Mapping[str, Source], seed: int, length: int, done: Callable[[], int], routed: bool = False
    ) -> None:
        self.sources = {name: source for name, source in sources.items() if source.weight > 0}
        self.seed, self.length, self.done = seed, length, done
        self.routed = routed or len(self.sources) > 1
        self._step_size = next(iter(self.sources.values())).order.step_size
        self._moved = 0  # batches of this size that those of another size stood for, less their number
        self.waited = 0.0  # seconds that whoever asks for batches has waited for them

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        batches = self._batches()
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self.waited += time.perf_counter() - asked
            yield batch

    def _batches(self) -> Iterator[Any]:
        first = self.done() + self._moved
        if not self.routed:
            (source,) = self.sources.values()
            yield from _from(source, first)
            return
        tasks = self._tasks()
        passed = Counter(next(tasks) for _ in range(first))
        streams = {name: _from(source, passed[name]) for name, source in self.sources.items()}
        for name in tasks:
            yield RoutedBatch(name, next(streams[name]))

    def state_dict(self) -> dict[str, int]:
        """Where the stream is, in batches of this rank and in samples of all ranks."""
        done = self.done()
        return {"batches": done, "samples": (done + self._moved) * self._step_size}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on after the samples of a state."""
        self._moved = state["samples"] // self._step_size - state["batches"]

    def _tasks(self) -> Iterator[str]:
        """The task of every step."""
        rng = random.Random(f"{self.seed}/tasks")
        names = list(self.sources)
        weights = [source.weight for source in self.sources.values()]
        while True:
            yield rng.choices(names, weights)[0]


def _from(source: Source, first: int) -> Iterator[Any]:
    """The batches of a source from one on; loader processes start with the first that is asked for."""
    source.order.start = first
    yield from source.loader
