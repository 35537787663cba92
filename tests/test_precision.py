"""Claims about precision=auto: half precision only where the machine multiplies in it."""

from __future__ import annotations

import pytest
import torch

from glipv2.precision import resolved_precision


def machine(patch: pytest.MonkeyPatch, *, cpu: bool, cuda: bool | None) -> None:
    """Pretends: cpu, whether it has bfloat16 products; cuda, None where there is no such device."""
    patch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu)
    patch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: cpu)
    patch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bool(cuda))
    patch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("cpu", "cuda", "accelerator", "chosen"),
    [
        (False, None, "auto", "32-true"),
        (True, None, "auto", "bf16-mixed"),
        (True, None, "cpu", "bf16-mixed"),
        (False, True, "auto", "bf16-mixed"),
        (False, True, "gpu", "bf16-mixed"),
        (True, False, "auto", "32-true"),  # an old graphics card imitates bfloat16
        (False, True, "cpu", "32-true"),
        (True, None, "mps", "32-true"),
    ],
)
def test_auto_is_half_precision_only_where_it_is_native(
    cpu: bool, cuda: bool | None, accelerator: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, cpu=cpu, cuda=cuda)
    assert resolved_precision("auto", accelerator) == chosen


def test_a_precision_that_is_named_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cpu=False, cuda=None)
    assert resolved_precision("bf16-mixed", "cpu") == "bf16-mixed"
