"""A core that only says which shapes it would give, and what it would keep: nothing of it is stored or computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from glipv2.activations import Kept
from glipv2.models.recompute import PARTS, blocks_of

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # other precisions compute in their own


class ImaginedCore:
    """The encoders and the tower of a task, taken out of it and run on shapes alone.

    device: the kind whose rules of automatic precision hold, "cuda" or "cpu"; it need not be there. What comes back
    is random numbers of the right shapes, so that heads and losses after it can run in earnest.
    """

    def __init__(self, core: nn.Module, device: str, precision: str) -> None:
        self.device, self.dtype = device, AUTOCAST.get(precision)
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.parts = {name: cast("nn.Module", getattr(core, name)) for name in PARTS}
        for name, part in self.parts.items():
            with self.mode:
                part._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device))
            setattr(core, name, _Standin(self, part))
        self.kept = Kept()
        self.largest_block = 0

    @contextmanager
    def counting(self, heads: nn.Module) -> Iterator[None]:
        """What is kept below counts anew, that of heads which really run too."""
        self.kept, self.largest_block = Kept(*self.parts.values(), heads), 0
        with self.kept.counting():
            yield

    def call(self, part: nn.Module, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """What a method of a part gives, as random numbers."""
        with self.mode, _autocast(self.device, self.dtype):
            given = _mapped(arguments, self._imagined)
            found = getattr(part, method)(*given, **_mapped(options, self._imagined))
        return _mapped(found, self._made)

    def watch_blocks(self) -> None:
        """Notes how much the largest block keeps of its insides: what recomputing it takes for a moment."""
        for part in self.parts.values():
            for block in blocks_of(part):
                before: list[int] = []
                block.register_forward_pre_hook(lambda *_, before=before: before.append(self.kept.bytes))
                block.register_forward_hook(lambda *_, before=before: self._block_ended(before.pop()))

    def _block_ended(self, before: int) -> None:
        self.largest_block = max(self.largest_block, self.kept.bytes - before)

    def _imagined(self, tensor: Tensor) -> Tensor:
        known = self.kept.stands_for(tensor)
        if known is not None and known.shape == tensor.shape:
            return known
        made = torch.empty(tensor.shape, dtype=tensor.dtype, device=self.device)
        return made.requires_grad_(tensor.requires_grad)

    def _made(self, imagined: Tensor) -> Tensor:
        made = torch.randn(imagined.shape).to(imagined.dtype).requires_grad_(imagined.requires_grad)
        self.kept.same(made, imagined.detach())
        return made


class _Standin(nn.Module):
    """In the place of a part: has its methods, and none of its weights."""

    def __init__(self, core: ImaginedCore, part: Any) -> None:
        super().__init__()
        self._core, self._part = core, [part]  # in a list it is no module of this one
        self.embeddings = torch.randn(part.embeddings.shape) if hasattr(part, "embeddings") else None

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return self._core.call(self._part[0], "__call__", arguments, options)

    def __getattr__(self, name: str) -> Any:
        if name in ("causal", "image_path", "text_path"):
            return lambda *arguments, **options: self._core.call(self._part[0], name, arguments, options)
        return super().__getattr__(name)


@contextmanager
def _autocast(device: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Automatic precision by a device's rules; torch.autocast leaves it off for a device that is not there."""
    if dtype is None:
        yield
        return
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same with all its tensors changed; goes into tuples, lists, dicts and dataclasses."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(inner, change) for inner in value)
    if isinstance(value, dict):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{own.name: _mapped(getattr(value, own.name), change) for own in fields(value) if own.init}
        )
    return value
