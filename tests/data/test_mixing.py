"""Claims about batches of several tasks in one stream."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from torch.utils.data import DataLoader

from glipv2.data.mixing import Source, TrainingStream
from glipv2.data.order import TrainingOrder


class Indices:
    """Samples that are their own numbers, from a first one on."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, draw: Any) -> int:
        return self.first + int(draw.index)


def source(first: int, count: int, weight: float = 1.0, size: int = 2) -> Source:
    order = TrainingOrder(count, size, f"{first}")
    loader: DataLoader[Any] = DataLoader(Indices(first, count), batch_sampler=order, collate_fn=list)  # type: ignore[arg-type]
    return Source(loader, order, weight)


def resumed(sources: Mapping[str, Source], state: Mapping[str, Any], done: int | None = None) -> TrainingStream:
    """A stream that goes on where a state is."""
    later = TrainingStream(sources, 0, 999, lambda: state["batches"] if done is None else done)
    later.load_state_dict(state)
    return later


def stream(sources: Mapping[str, Source], length: int, done: int = 0, seed: int = 0) -> TrainingStream:
    return TrainingStream(sources, seed, length, lambda: done)


def drawn(mixed: TrainingStream, count: int) -> list[tuple[str, Any]]:
    return [(routed.task, routed.batch) for routed in itertools.islice(mixed, count)]


def test_batches_are_of_one_task_each_and_come_by_weight() -> None:
    mixed = stream({"a": source(0, 2000, 3.0), "b": source(5000, 2000)}, 1500)
    assert len(mixed) == 1500
    batches = drawn(mixed, 1500)
    assert all((value < 2000) == (task == "a") for task, batch in batches for value in batch)
    assert Counter(task for task, _ in batches)["a"] / 1500 == pytest.approx(0.75, abs=0.03)


def test_a_small_set_begins_anew_and_loses_nothing() -> None:
    mixed = stream({"a": source(0, 6), "b": source(100, 100)}, 100, seed=1)
    small = [value for task, batch in drawn(mixed, 100) if task == "a" for value in batch]
    assert len(small) > 24
    assert all(sorted(small[place : place + 6]) == list(range(6)) for place in range(0, 24, 6))


def test_every_rank_draws_the_same_tasks_and_every_seed_others() -> None:
    streams = [stream({"a": source(0, 50), "b": source(0, 50)}, 40, seed=seed) for seed in (3, 3, 4)]
    first, second, other = ([task for task, _ in drawn(own, 40)] for own in streams)
    assert first == second != other


def test_a_task_without_weight_is_left_out() -> None:
    mixed = stream({"a": source(0, 8), "b": source(0, 8, 0.0), "c": source(0, 8)}, 40)
    assert {task for task, _ in drawn(mixed, 40)} == {"a", "c"}


def test_batches_of_a_single_task_come_as_they_are() -> None:
    (batch,) = itertools.islice(stream({"a": source(0, 6, size=3), "b": source(0, 6, 0.0)}, 9), 1)
    assert len(batch) == 3


@pytest.mark.parametrize("tasks", [("a",), ("a", "b")])
def test_a_stream_goes_on_where_training_stopped(tasks: tuple[str, ...]) -> None:
    def opened(done: int) -> list[Any]:
        sources = {name: source(100 * place, 10) for place, name in enumerate(tasks)}
        return list(itertools.islice(stream(sources, 30, done), 30 - done))

    whole = opened(0)
    for done in (1, 5, 17, 29):
        assert opened(done) == whole[done:]


def test_a_resumption_with_another_batch_size_goes_on_at_the_same_sample() -> None:
    done = 0
    first = TrainingStream({"a": source(0, 12, size=2)}, 0, 99, lambda: 4)
    state = first.state_dict()
    assert state == {"batches": 4, "steps": 4, "places": {"a": [0, 8]}}
    done = 4
    later = TrainingStream({"a": source(0, 12, size=4)}, 0, 99, lambda: done)
    later.load_state_dict(state)
    rest = [value for batch in itertools.islice(later, 1) for value in batch]
    passed = [value for batch in itertools.islice(stream({"a": source(0, 12, size=2)}, 9), 4) for value in batch]
    assert sorted(passed + rest) == list(range(12))
    done = 5
    assert later.state_dict() == {"batches": 5, "steps": 5, "places": {"a": [1, 0]}}


@pytest.mark.parametrize(("done", "size", "later", "begin"), [
    (20, 4, 2, 50), (21, 4, 2, 52), (52, 2, 4, 21), (54, 2, 4, 22), (9, 1, 4, 2), (21, 4, 3, 31),
])  # fmt: skip
def test_a_resumption_with_another_batch_size_stays_in_its_pass(done: int, size: int, later: int, begin: int) -> None:
    """Passes of 10 samples drop a rest of 2 with batches of 4, and none with batches of 2."""
    state = TrainingStream({"a": source(0, 10, size=size)}, 0, 999, lambda: done).state_dict()
    own = source(0, 10, size=later)
    assert list(itertools.islice(resumed({"a": own}, state), 7)) == list(
        itertools.islice(stream({"a": source(0, 10, size=later)}, 999, begin), 7)
    )


def test_every_task_goes_on_in_its_own_pass() -> None:
    def tasks(size: int) -> dict[str, Source]:
        return {"a": source(0, 10, 3.0, size), "b": source(100, 7, size=size)}

    first = TrainingStream(tasks(4), 0, 999, lambda: 40)
    state = first.state_dict()
    passed = Counter(task for task, _ in drawn(stream(tasks(4), 40), 40))
    assert state["places"] == {"a": [passed["a"] // 2, passed["a"] % 2 * 4], "b": [passed["b"], 0]}
    later = drawn(resumed(tasks(2), state), 20)
    for name, begin in (("a", passed["a"] // 2 * 5 + passed["a"] % 2 * 2), ("b", passed["b"] * 3)):
        own = [batch for task, batch in later if task == name]
        assert own == list(itertools.islice(stream({name: tasks(2)[name]}, 999, begin), len(own)))
    again = resumed(tasks(2), state, done=45).state_dict()  # and later with that size
    assert drawn(resumed(tasks(2), again), 15) == later[5:]


@pytest.mark.parametrize("size", [2, 4])
def test_checkpoints_that_tell_samples_alone_are_still_read(size: int) -> None:
    later = resumed({"a": source(0, 10, size=size)}, {"batches": 6, "samples": 12})
    expected = list(itertools.islice(stream({"a": source(0, 10, size=size)}, 999, 12 // size), 9))
    assert list(itertools.islice(later, 9)) == expected
    assert resumed({"a": source(0, 10, size=size)}, later.state_dict()).state_dict() == later.state_dict()
