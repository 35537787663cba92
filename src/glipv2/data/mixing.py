"""The training batches of a run, of one task or of several in one stream, from any batch on."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
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
    with a checkpoint. After a resumption with another number of samples a step each source goes on in the same pass at
    the same sample, or at the last one before it that a batch begins with.
    """

    def __init__(
        self, sources: Mapping[str, Source], seed: int, length: int, done: Callable[[], int], routed: bool = False
    ) -> None:
        self.sources = {name: source for name, source in sources.items() if source.weight > 0}
        self.seed, self.length, self.done = seed, length, done
        self.routed = routed or len(self.sources) > 1
        self._step_size = next(iter(self.sources.values())).order.step_size
        self._moved = 0  # steps that a checkpoint without places stood for in batches of this size, less their number
        self._ahead = Counter[str]()  # by source: batches to leave out, which were trained on in those of another size
        self._counted: tuple[int, Iterator[str], Counter[str]] = 0, self._tasks(), Counter()
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
        passed = self._passed(first)
        if not self.routed:
            ((name, source),) = self.sources.items()
            yield from _from(source, passed[name])
            return
        streams = {name: _from(source, passed[name]) for name, source in self.sources.items()}
        for name in islice(self._tasks(), first, None):
            yield RoutedBatch(name, next(streams[name]))

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is: batches of this rank, steps by which tasks are drawn, and each source's place.

        places: by source, the pass over the data and how many of its samples all ranks have taken.
        """
        done = self.done()
        passed = self._passed(done + self._moved)
        places = {name: list(source.order.place_of(passed[name])) for name, source in self.sources.items()}
        return {"batches": done, "steps": done + self._moved, "places": places}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on after the samples of a state."""
        self._ahead.clear()
        if "places" not in state:  # of a version that counted samples alone: right while no pass has dropped a rest
            self._moved = state["samples"] // self._step_size - state["batches"]
            return
        self._moved = state["steps"] - state["batches"]
        passed = self._passed(state["steps"])
        for name, place in state["places"].items():
            if name in self.sources:
                self._ahead[name] = self.sources[name].order.number_at(*place) - passed[name]

    def _passed(self, steps: int) -> Counter[str]:
        """By source: how many of its batches the first steps stand for."""
        drawn = self._draws(steps) if self.routed else Counter(dict.fromkeys(self.sources, steps))
        return Counter({name: drawn[name] + self._ahead[name] for name in self.sources})

    def _draws(self, steps: int) -> Counter[str]:
        """How often each task is drawn in the first steps. Asked for more of them, it goes on where it stopped."""
        counted, tasks, draws = self._counted if steps >= self._counted[0] else (0, self._tasks(), Counter[str]())
        draws.update(islice(tasks, steps - counted))
        self._counted = steps, tasks, draws
        return draws

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
