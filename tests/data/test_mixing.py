"""Claims about batches of several tasks in one stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from torch.utils.data import DataLoader

from glipv2.data.mixing import MixedLoader


def loader(values: range, batch_size: int = 2) -> DataLoader[Any]:
    return DataLoader(list(values), batch_size=batch_size, collate_fn=list)  # type: ignore[arg-type]


def drawn(mixed: MixedLoader) -> Iterator[tuple[str, Any]]:
    return ((routed.task, routed.batch) for routed in mixed)


def test_batches_are_of_one_task_each_and_come_by_weight() -> None:
    mixed = MixedLoader({"a": loader(range(2000)), "b": loader(range(5000, 7000))}, {"a": 3.0, "b": 1.0}, seed=0)
    batches = list(drawn(mixed))
    assert len(batches) == len(mixed) == 2000
    assert all((value < 2000) == (task == "a") for task, batch in batches for value in batch)
    assert Counter(task for task, _ in batches)["a"] / 2000 == pytest.approx(0.75, abs=0.03)


def test_a_small_set_begins_anew_and_loses_nothing() -> None:
    mixed = MixedLoader({"a": loader(range(6)), "b": loader(range(100, 200))}, {"a": 1.0, "b": 1.0}, seed=1)
    small = [value for task, batch in drawn(mixed) if task == "a" for value in batch]
    assert len(small) > 12
    assert small == (list(range(6)) * len(small))[: len(small)]


def test_every_rank_draws_the_same_tasks_and_every_epoch_others() -> None:
    parts = {"a": loader(range(50)), "b": loader(range(50))}
    weights = {"a": 1.0, "b": 1.0}
    first, second = MixedLoader(parts, weights, seed=3), MixedLoader(parts, weights, seed=3)
    tasks = [task for task, _ in drawn(first)]
    assert tasks == [task for task, _ in drawn(second)]
    assert tasks != [task for task, _ in drawn(first)]


def test_a_task_without_weight_is_left_out() -> None:
    mixed = MixedLoader({"a": loader(range(8)), "b": loader(range(8))}, {"a": 1.0, "b": 0.0}, seed=0)
    assert {task for task, _ in drawn(mixed)} == {"a"}
