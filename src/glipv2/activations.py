"""What a training step keeps for its backward pass, in bytes; on any device, the ones that store nothing too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


class Kept:
    """Memory that is kept to differentiate; tensors that share it count once, those of weights not at all.

    weights: modules whose parameters are there anyway, as views too.
    """

    def __init__(self, *weights: nn.Module) -> None:
        self._weights = {_key(parameter) for module in weights for parameter in module.parameters()}
        self._kept: dict[int, Tensor] = {}  # held, or another tensor could take the place of one that is gone
        self._same: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._kept.values())

    def same(self, one: Tensor, other: Tensor) -> None:
        """Two tensors stand for one and the same memory, that of `other`."""
        self._same[_key(one)] = (one, other)

    def stands_for(self, tensor: Tensor) -> Tensor | None:
        """What a tensor was declared the same as."""
        found = self._same.get(_key(tensor))
        return found[1] if found else None

    @contextmanager
    def counting(self) -> Iterator[None]:
        """What is kept below counts."""
        with saved_tensors_hooks(self._noted, lambda tensor: tensor):
            yield

    def _noted(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter) and _key(tensor) not in self._weights:
            real = self.stands_for(tensor)
            self._kept.setdefault(_key(tensor if real is None else real), tensor if real is None else real)
        return tensor


def _key(tensor: Tensor) -> int:
    """Of a tensor's memory."""
    return int(tensor.untyped_storage()._cdata)
