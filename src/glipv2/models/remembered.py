"""Texts that were encoded before: a prompt that many pictures are asked for is read once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor, nn

from glipv2.structures import TextBatch

MOST_BYTES = 2**28  # of remembered states, the longest unused are forgotten first


class TextMemory:
    """The states of whole text batches, for a model that is not trained meanwhile.

    Changes nothing but time: asked only where no gradient is taken and nothing is drawn at random, and never while
    a graph is recorded. A batch that repeats one prompt for every image is encoded as one row. Parameters that
    are replaced, moved or written to empty it; what is written past autograd (`.data`) it can't see, so
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
        """What `encode` gives for a text, [B, L, T], from memory where it was asked for before."""
        if encoder.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or text.token_ids.is_meta:
            return encode(text)
        self._forget_other(encoder)
        rows = len(text.token_ids)
        one = text.rows([0]) if rows > 1 and _repeats(text) else text
        device = text.token_ids.device.type
        cast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        key = (*map(_content, (one.token_ids, one.token_mask, one.segments)), str(text.token_ids.device), cast)
        found = self._states.pop(key, None)
        found = encode(one) if found is None else found
        self._states[key] = found  # as the latest
        self._shrink()
        return found if one is text else found.expand(rows, -1, -1)

    def _forget_other(self, encoder: nn.Module) -> None:
        """Everything, when the encoder is another or its parameters were replaced or written to."""
        now = tuple((id(one), one.data_ptr(), _version(one)) for one in encoder.parameters())
        if now != self._held_for:
            self._states.clear()
            self._held_for = now

    def _shrink(self) -> None:
        while self._states and sum(states.nbytes for states in self._states.values()) > self.most_bytes:
            self._states.popitem(last=False)


def _repeats(text: TextBatch) -> bool:
    """Whether all rows are one prompt."""
    given = [one for one in (text.token_ids, text.token_mask, text.segments) if one is not None]
    return all(bool((one == one[:1]).all()) for one in given)


def _content(values: Tensor | None) -> Hashable:
    return None if values is None else (tuple(values.shape), values.detach().cpu().numpy().tobytes())


def _version(parameter: Tensor) -> int:
    return -1 if parameter.is_inference() else parameter._version
