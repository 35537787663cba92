"""Gradient checkpointing: blocks that forget their insides and compute them again when gradients pass through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from glipv2.errors import UserError, nearest

PARTS = ("image", "text", "fusion")


def recompute_blocks(core: nn.Module, parts: Iterable[str]) -> int:
    """Lets the blocks of a core's parts keep their inputs alone; returns how many blocks that are.

    Gradients, batch norms' statistics and names of tensors stay what they are; a step takes about a third longer.
    parts: of image (backbone), text and fusion. UserError for another one.
    """
    found = 0
    for part in parts:
        if part not in PARTS:
            raise UserError(f"trainer.grad_checkpointing: no part '{part}'; {nearest(part, PARTS)}")
        for block in blocks_of(getattr(core, part)):
            block.forward = Recomputed(block)  # deep copies get their own
            found += 1
    return found


def refuse_norms(core: nn.Module, parts: Iterable[str]) -> None:
    """UserError for parts whose blocks hold batch norms: compiled, these would count a batch twice."""
    for part in parts:
        for block in blocks_of(getattr(core, part)):
            if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in block.modules()):
                raise UserError(
                    f"trainer.compile can't go with trainer.grad_checkpointing of {part}, whose blocks hold batch "
                    f"norms; leave out one of them"
                )


def blocks_of(module: nn.Module, listed: bool = False) -> Iterator[nn.Module]:
    """The outermost modules with parts of their own that stand in a list: layers of an encoder, blocks of a stage."""
    for child in module.children():
        row = isinstance(child, (nn.ModuleList, nn.Sequential))
        if listed and not row and any(True for _ in child.children()):
            yield child
        else:
            yield from blocks_of(child, row)


class Recomputed:
    """The forward of a block, run again in the backward pass; as it is where no gradients are asked for."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        self._norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        run = partial(type(self.block).forward, self.block)
        if not torch.is_grad_enabled():
            return run(*inputs, **options)
        ways: dict[str, Any] = {"context_fn": self._contexts} if self._norms else {}
        return checkpoint(run, *inputs, use_reentrant=False, **ways, **options)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _still(self._norms)


@contextmanager
def _still(norms: Sequence[nn.modules.batchnorm._BatchNorm]) -> Iterator[None]:
    """Batch norms count a batch once, though it passes twice."""
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
