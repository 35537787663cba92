"""Claims about the deformable convolution: every way of computing it gives torchvision's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.errors import UserError
from glipv2.kernels import Sampling
from glipv2.models import deformable
from glipv2.models.deformable import Grid, corners, deformed, plainly
from glipv2.models.fusion import FusionConfig

CASES = [(1, (7, 9)), (2, (4, 5))]  # stride, size of the output


def inputs(size: tuple[int, int], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Level, offsets (many leave the map), mask, weight, bias."""
    torch.manual_seed(0)
    level, bias = torch.randn(2, 4, 7, 9, dtype=dtype), torch.randn(6, dtype=dtype)
    offsets, mask = 3 * torch.randn(2, 18, *size, dtype=dtype), torch.rand(2, 9, *size, dtype=dtype)
    weight = torch.randn(6, 4, 3, 3, dtype=dtype)
    return [values.requires_grad_() for values in (level, offsets, mask, weight, bias)]


def computed(
    stride: int, size: tuple[int, int], sampling: Sampling, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Output and the gradients on everything."""
    given = inputs(size, dtype)
    output = deformed(*given, stride, sampling)  # type: ignore[arg-type]
    torch.manual_seed(1)
    return [output, *torch.autograd.grad((output * torch.randn(output.shape, dtype=dtype)).sum(), given)]


@pytest.mark.parametrize(("stride", "size"), CASES)
@pytest.mark.parametrize("values", [9 * 4 * 5, 2**21])  # of a block: five positions, all
def test_gathered_rows_give_torchvisions_outputs_and_gradients(
    stride: int, size: tuple[int, int], values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(deformable.BLOCK, "cpu", values)
    for one, other in zip(
        computed(stride, size, Sampling.GATHER), computed(stride, size, Sampling.TORCHVISION), strict=True
    ):
        assert one.shape == other.shape
        assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_in_float32_they_differ_by_rounding_alone() -> None:
    same = computed(1, (7, 9), Sampling.TORCHVISION, torch.float32)
    found = computed(1, (7, 9), Sampling.GATHER, torch.float32)
    for one, other in zip(found, same, strict=True):
        assert_close(one, other, atol=2e-5, rtol=2e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    given = inputs((4, 5))
    assert torch.autograd.gradcheck(lambda *each: deformed(*each, 2, Sampling.GATHER), given)


def test_the_plain_form_that_compilers_fuse_is_the_same() -> None:
    level, offsets, mask, weight, bias = inputs((4, 5))
    rows = [values.permute(0, 2, 3, 1).flatten(0, 2) for values in (level, offsets, mask)]
    found = plainly(*rows, weight.permute(0, 2, 3, 1).flatten(1), bias, Grid(2, (7, 9), (4, 5), 2))
    expected = deformed(level, offsets, mask, weight, bias, 2, Sampling.TORCHVISION)
    assert_close(found.view(2, 4, 5, 6).permute(0, 3, 1, 2), expected)


def test_no_offset_reads_outside_the_map() -> None:
    wild = torch.tensor([float("inf"), float("-inf"), float("nan"), 1e30, -1e30, 3e9]).repeat(3).expand(4, -1)
    found = corners(wild, torch.zeros(4, 9, 2), torch.zeros(4, dtype=torch.int32), (7, 9))
    assert int(found.rows.min()) >= 0
    assert int(found.rows.max()) < 7 * 9
    level, _, mask, weight, bias = inputs((7, 9), torch.float32)
    far = deformed(level, torch.full((2, 18, 7, 9), 1e30), mask, weight, bias, 1, Sampling.GATHER)
    assert_close(far, bias[None, :, None, None].expand_as(far))


def test_a_cpu_gathers_and_others_call_torchvision() -> None:
    assert Sampling.AUTO.on(torch.device("cpu")) is Sampling.GATHER
    assert Sampling.AUTO.on(torch.device("cuda")) is Sampling.TORCHVISION
    assert Sampling.COMPILED.on(torch.device("cuda")) is Sampling.COMPILED


def test_an_unknown_way_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"fusion\.sampling: expected one of auto, torchvision, gather, compiled, but"):
        FusionConfig(sampling="quick", layers=1, text_heads=4).build(16, 16)
