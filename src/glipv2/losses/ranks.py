"""Terms are means over what all ranks hold, so that a gradient does not depend on how a batch was split."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def shared_count(count: Tensor) -> Tensor:
    """What a rank divides its sum by: the mean count of all ranks, and at least that of a single one on one of them.

    Gradients are averaged over ranks: the mean of sums over the mean count is the sum over the count of all.
    """
    ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    return mean_over_ranks(count.float()).clamp(min=1 / ranks)


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a scalar over all processes, without gradient; itself in a single process."""
    value = value.detach().clone()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value
