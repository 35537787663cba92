"""In which order a training meets the samples of shards: shuffled, yet with few shards needed at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
WINDOW = 8  # shards whose samples are mixed


def shuffled(shard_of: Numbers, seed: int, window: int) -> Numbers:
    """A permutation int64 [N] of all samples that depends on nothing but the arguments.

    shard_of: the shard of each, int64 [N]. Shards are drawn in another order, `window` of them at a time (0 = all at
    once), and the samples of these are mixed: a reader needs so many shards at a time, and each of them once.
    """
    random = np.random.default_rng(seed)
    shards, own = np.unique(shard_of, return_inverse=True)
    place = random.permutation(len(shards))
    window_of = place[own] // (window or max(len(shards), 1))
    mixed = random.permutation(len(shard_of))
    return mixed[np.argsort(window_of[mixed], kind="stable")].astype(np.int64)
