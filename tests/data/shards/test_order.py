"""Claims about the order in which samples of shards are trained on."""

from __future__ import annotations

import numpy as np
import pytest

from glipv2.data.shards.order import shuffled

SHARDS = np.repeat(np.arange(10), 7)  # of seven samples each
MIXED = np.random.default_rng(0).permutation(SHARDS)


@pytest.mark.parametrize("window", [0, 1, 3, 10, 99])
@pytest.mark.parametrize("shard_of", [SHARDS, MIXED, SHARDS[:1], SHARDS[:0]])
def test_every_sample_comes_once(shard_of: np.ndarray, window: int) -> None:
    assert sorted(shuffled(shard_of, 5, window).tolist()) == list(range(len(shard_of)))


@pytest.mark.parametrize("shard_of", [SHARDS, MIXED])
def test_only_a_window_of_shards_is_read_at_a_time_and_each_shard_once(shard_of: np.ndarray) -> None:
    order = shard_of[shuffled(shard_of, 0, 3)]
    parts = [set(order[start : start + 21].tolist()) for start in range(0, 70, 21)]
    assert [len(part) for part in parts] == [3, 3, 3, 1]
    assert set.union(*parts) == set(range(10))


def test_samples_of_a_window_are_mixed() -> None:
    order = SHARDS[shuffled(SHARDS, 0, 3)][:21]
    assert np.count_nonzero(np.diff(order)) > 7  # shard after shard would change twice


def test_the_order_is_that_of_the_seed_and_no_more() -> None:
    np.random.seed(1)
    first = shuffled(SHARDS, 5, 3)
    np.random.seed(2)
    assert first.tolist() == shuffled(SHARDS, 5, 3).tolist()
    assert first[:10].tolist() == FIRST
    assert first.tolist() != shuffled(SHARDS, 6, 3).tolist()


FIRST = [
    30,
    44,
    29,
    42,
    32,
    17,
    34,
    46,
    31,
    18,
]  # another library's release must not change the order in the middle of a training
