"""What metrics keep: tables of tensor rows, which several ranks may simply join."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

UNDEFINED = -1.0  # what COCO gives where no object counts; every score here does the same

Table = Mapping[str, Tensor]


class TableMetric(Metric):
    """A metric over a data set and over all ranks. Its state is a table; what repeats in it is for `compute` to drop.

    Subclasses say in EMPTY which columns there are, `add` rows in `update` and read `table` in `compute`.
    States live on the CPU and travel to the GPU only for an exchange that needs it.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    EMPTY: ClassVar[Table] = {}

    def __init__(self, **kwargs: Any) -> None:
        # A rank with a cached result would stay away from the exchange and leave the others waiting.
        super().__init__(**{"compute_with_cache": False, **kwargs})
        for name in self.EMPTY:
            self.add_state(name, [], dist_reduce_fx="cat")

    def add(self, rows: Table) -> None:
        """Appends rows of every column."""
        for name in self.EMPTY:
            getattr(self, name).append(rows[name])

    def table(self) -> Table:
        """Everything seen since the last reset, on the CPU; first come, first."""
        return self._joined(torch.device("cpu"))

    def joined_table(self) -> Table:
        """The same of all ranks; every one of them must ask for it."""
        with self.sync_context():
            return self.table()

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Joins the ranks. One that saw nothing sends empty rows of the right kind, or the exchange would hang."""
        for name, rows in self._joined(_exchange_device()).items():
            setattr(self, name, [rows])
        super().sync(*args, **kwargs)

    def _joined(self, device: torch.device) -> Table:
        states = {name: getattr(self, name) for name in self.EMPTY}  # lists, or one tensor after an exchange
        parts = {name: [state] if isinstance(state, Tensor) else state for name, state in states.items()}
        return {name: torch.cat([rows.to(device) for rows in (self.EMPTY[name], *parts[name])]) for name in self.EMPTY}

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # torchmetrics walks through results and refuses frozen dataclasses; sealed ones it hands on untouched.
        sealed = super()._wrap_compute(lambda: _Sealed(compute()))
        return functools.wraps(compute)(lambda: sealed().scores)


class _Sealed:
    def __init__(self, scores: Any) -> None:
        self.scores = scores


def _exchange_device() -> torch.device:
    """Where tensors must lie to be sent between ranks: NCCL knows only GPUs."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.device("cuda" if distributed and torch.distributed.get_backend() == "nccl" else "cpu")


def stacked(parts: Mapping[str, Sequence[Tensor]], empty: Table) -> Table:
    """The rows of each column below one another, in the kinds of `empty`."""
    return {name: torch.cat([rows.detach().to(kind) for rows in (kind, *parts[name])]) for name, kind in empty.items()}


def first_visits(ids: Tensor) -> tuple[Tensor, Tensor]:
    """For `ids` int64 [V] or [V, D]: which rows show theirs for the first time, bool [V]; each id's rank, int64 [V].

    Samplers repeat samples so that all ranks get as many; the repeated ones must not count again.
    """
    _, first, rank = np.unique(ids.numpy(), axis=0, return_index=True, return_inverse=True)
    kept = torch.zeros(len(ids), dtype=torch.bool)
    kept[torch.from_numpy(first)] = True
    return kept, torch.from_numpy(rank.reshape(-1))


# Strings as rows: their UTF-8 bytes one after the other, and the length of each.
NO_BYTES, NO_LENGTHS = torch.zeros(0, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64)


def packed(texts: Sequence[str | bytes]) -> tuple[Tensor, Tensor]:
    """Bytes uint8 [N] and lengths int64 [n] of n strings."""
    parts = [text.encode() if isinstance(text, str) else text for text in texts]
    data = np.frombuffer(b"".join(parts), dtype=np.uint8).copy()
    return torch.from_numpy(data), torch.tensor([len(part) for part in parts], dtype=torch.int64)


def unpacked(data: Tensor, lengths: Tensor) -> list[bytes]:
    """The inverse of `packed`, as bytes."""
    whole, ends = data.numpy().tobytes(), lengths.cumsum(0).tolist()
    return [whole[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


def texts(data: Tensor, lengths: Tensor) -> list[str]:
    """The inverse of `packed`, as strings."""
    return [part.decode() for part in unpacked(data, lengths)]


def first_texts(data: Tensor, lengths: Tensor) -> Tensor:
    """Which strings stand there for the first time, bool [n]."""
    first = {part: place for place, part in reversed(list(enumerate(unpacked(data, lengths))))}
    kept = torch.zeros(len(lengths), dtype=torch.bool)
    kept[list(first.values())] = True
    return kept
