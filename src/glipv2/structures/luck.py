"""Chances that belong to a sample and not to a process: the same whatever the batch, the worker and the rank."""

from __future__ import annotations

import torch
from torch import Tensor

MASKED_WORDS, CHOSEN_WORDS, OTHER_WORDS, CONTRAST, MASKS, JITTER = range(6)  # what a sample's chances are drawn for

_MIX = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))  # SplitMix64 (Steele et al. 2014), as int64
_STEP = 0x9E3779B97F4A7C15 - (1 << 64)


def uniform(seeds: Tensor | None, count: int, purpose: int, rows: int, device: torch.device) -> Tensor:
    """Float [rows, count] in [0, 1): row by row from `seeds` int64 [rows], from torch's generator where it is None.

    The place in a row decides, not the length of the row: padding changes no chance. Different purposes are
    independent.
    """
    if seeds is None:
        return torch.rand(rows, count, device=device)
    place = torch.arange(count, device=device) + (purpose << 40)
    state = _mixed(_mixed(seeds[:, None] + _STEP) + (place + 1) * _STEP)
    return _shifted(state, 40).float() / (1 << 24)


def _mixed(state: Tensor) -> Tensor:
    """SplitMix64's scrambling of int64, which wraps as unsigned numbers do."""
    state = (state ^ _shifted(state, 30)) * _MIX[0]
    state = (state ^ _shifted(state, 27)) * _MIX[1]
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, by: int) -> Tensor:
    """Shifted right with zeros coming in; torch's own shift keeps the sign."""
    return (state >> by) & ((1 << (64 - by)) - 1)
