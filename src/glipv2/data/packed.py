"""Rows of plain values as one block of bytes."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np


class PackedRows:
    """Rows by number, each unpacked when asked for: a list of objects would be copied page by page into each worker."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        own = list(pieces)
        self.block = np.frombuffer(b"".join(own), dtype=np.uint8)
        self.offsets = np.cumsum([0, *map(len, own)])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Any:
        return pickle.loads(self.block[self.offsets[row] : self.offsets[row + 1]].tobytes())


def packed(value: Any) -> bytes:
    """A row's plain value, for `PackedRows`."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
