"""How a model that is not trained computes: in which numbers, in which memory order, compiled or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from glipv2.errors import UserError, nearest
from glipv2.precision import resolved_precision
from glipv2.trainer import compile_parts, compilers

PRECISIONS = ("32", "bf16", "auto")


@dataclass(frozen=True)
class Arithmetic:
    """The default is float32, as it was trained to compute; docs/performance.md tells what the others save and move.

    precision: "32", "bf16" (products in bfloat16, the region head in float32 as ever), or "auto": bfloat16 where the
    hardware multiplies in it. compile: a backend of torch.compile, as inductor ("" = none); the first pictures of every
    size then take minutes. channels_last: memory order of the convolutions.
    """

    precision: str = "32"
    compile: str = ""
    channels_last: bool = False

    def check(self) -> None:
        """UserError for what does not exist."""
        if self.precision not in PRECISIONS:
            raise UserError(f"precision: no '{self.precision}'; {nearest(self.precision, PRECISIONS)}")
        if self.compile and self.compile not in compilers():
            raise UserError(f"compile: no backend '{self.compile}'; {nearest(self.compile, compilers())}")

    def prepare(self, task: nn.Module) -> None:
        """Gives a task the memory order and the compiled parts; names and values of its tensors stay."""
        self.check()
        if self.channels_last:
            task.to(memory_format=torch.channels_last)
        compile_parts(task, self.compile)

    def on(self, device: torch.device) -> AbstractContextManager[object]:
        """Within it products are computed as asked for on a device."""
        halved = self.precision == "bf16" or (
            self.precision == "auto" and resolved_precision("auto", device.type) == "bf16-mixed"
        )
        return torch.autocast(device.type, torch.bfloat16) if halved else nullcontext()


def pick_device(device: str) -> str:
    """A torch device name; "auto" takes an accelerator where there is one. UserError for one that is not here."""
    if device != "auto":
        try:
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:  # a torch without CUDA asserts
            raise UserError(f"device={device}: {str(error).splitlines()[0]}") from error
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def told_as_compiling(backend: str) -> Iterator[None]:
    """A compiler that is not there, or fails, is told in one line."""
    try:
        yield
    except RuntimeError as error:
        if not backend or not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise UserError(f"compile={backend}: {' '.join(str(error).split())[:200]}; leave compile= out") from error
