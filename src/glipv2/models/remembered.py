"""Texts that were encoded before: a prompt that many pictures are asked for is read once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from glipv2.structures import TextBatch

MOST_BYTES = 2**28  # of remembered states, the longest unused are forgotten first


class TextMemory:
    """The states of texts, for a model that is not trained meanwhile.

    Changes nothing but time: asked only where no gradient is taken and nothing is drawn at random, and never while
    a graph is recorded. Texts are remembered one by one: whatever rows a batch holds, each is read once. Parameters
    that are replaced, moved or written to empty it; what is written past autograd (`.data`) it can't see, so
    that whoever uses a model, and not whoever trains it, gives it a memory.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._states: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._held_for: Hashable = None

    def __reduce__(self) -> tuple[type[TextMemory], tuple[int]]:
        return TextMemory, (self.most_bytes,)  # a copy of the model remembers nothing yet

    def __len__(self) -> int:
        return len(self._states)

    def states(self, encoder: nn.Module, text: TextBatch, encode: Callable[[TextBatch], Tensor]) -> Tensor:
        """What `encode` gives for a text, [B, L, T], from memory where it was asked for before; padding may be 0."""
        if encoder.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or text.token_ids.is_meta:
            return encode(text)
        self._forget_other(encoder)
        device = text.token_ids.device
        cast = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
        rows = [(*content, str(device), cast) for content in _contents(text)]
        lacking: dict[Hashable, int] = {}
        for row, key in enumerate(rows):
            if key not in self._states:
                lacking.setdefault(key, row)
        if lacking:
            own = list(lacking.values())
            for row, states in zip(own, encode(text.rows(own)), strict=True):
                # of its own memory, or one row that stays would hold all that were read with it
                self._states[rows[row]] = states[: rows[row][0]].clone()
        found = {key: self._states[key] for key in dict.fromkeys(rows)}
        for key in found:
            self._states.move_to_end(key)
        self._shrink()
        return _laid_out([found[key] for key in rows], text.token_ids.shape[1])

    def _forget_other(self, encoder: nn.Module) -> None:
        """Everything, when the encoder is another or its parameters were replaced or written to."""
        now = tuple((id(one), one.data_ptr(), _version(one)) for one in encoder.parameters())
        if now != self._held_for:
            self._states.clear()
            self._held_for = now

    def _shrink(self) -> None:
        while self._states and sum(states.nbytes for states in self._states.values()) > self.most_bytes:
            self._states.popitem(last=False)


def _contents(text: TextBatch) -> list[tuple[Any, ...]]:
    """Of each row how many tokens it has up to its last real one, and what stands there."""
    ids, mask = text.token_ids.cpu().numpy(), text.token_mask.cpu().numpy()
    segments = None if text.segments is None else text.segments.cpu().numpy()
    lengths = [int(row.nonzero()[0].max(initial=-1)) + 1 for row in mask]
    return [
        (
            length,
            ids[row, :length].tobytes(),
            mask[row, :length].tobytes(),
            None if segments is None else segments[row, :length].tobytes(),
        )
        for row, length in enumerate(lengths)
    ]


def _laid_out(rows: Sequence[Tensor], length: int) -> Tensor:
    """Rows [L_i, T] as [B, length, T]; a row that is all there is, is not copied."""
    if all(row is rows[0] for row in rows) and len(rows[0]) == length:
        return rows[0].expand(len(rows), -1, -1)
    states = rows[0].new_zeros(len(rows), length, rows[0].shape[-1])
    for place, row in enumerate(rows):
        states[place, : len(row)] = row
    return states


def _version(parameter: Tensor) -> int:
    return -1 if parameter.is_inference() else parameter._version
