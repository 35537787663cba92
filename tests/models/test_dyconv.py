"""Claims about DyConv and its parts."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from glipv2.models.dyconv import DyConv, DynamicReLU, ModulatedConv, offsets_for

ODD = ((13, 9), (7, 5), (4, 3))


def levels_of(width: int = 8) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return tuple(torch.randn(2, width, *size) for size in ODD)


@pytest.mark.parametrize(("deformable", "reread"), [(False, False), (True, False), (True, True)])
def test_levels_keep_their_sizes_odd_ones_too(deformable: bool, reread: bool) -> None:
    layer = DyConv(8, 4, deformable, reread)
    assert [tuple(level.shape) for level in layer(levels_of())] == [(2, 8, *size) for size in ODD]
    assert [level.shape for level in layer(levels_of()[:1])] == [levels_of()[0].shape]  # one level has no neighbours


@pytest.mark.parametrize("stride", [1, 2])
def test_without_shift_and_dimming_the_deformable_convolution_is_the_plain_one(stride: int) -> None:
    torch.manual_seed(0)
    convolution = ModulatedConv(8, stride, 4)
    level = levels_of()[0]
    plain = convolution(level, None, None)
    size = plain.shape[-2:]
    assert tuple(size) == tuple(-(-side // stride) for side in ODD[0])
    shifted = convolution(level, torch.zeros(2, 18, *size), torch.ones(2, 9, *size))
    assert_close(shifted, plain, atol=1e-5, rtol=1e-4)
    dimmed = convolution(level, torch.zeros(2, 18, *size), torch.rand(2, 9, *size))
    assert not torch.allclose(dimmed, plain, atol=1e-3)


def test_an_offset_of_one_row_reads_one_row_below() -> None:
    convolution = ModulatedConv(8, 1, 4)
    level = levels_of()[0]
    offsets = torch.zeros(2, 18, *ODD[0])
    offsets[:, 0::2] = 1  # (dy, dx) of each tap
    below = convolution.norm.eval()(
        torch.nn.functional.conv2d(
            torch.nn.functional.pad(level, (0, 0, 0, 1))[:, :, 1:], convolution.weight, convolution.bias, padding=1
        )
    )
    found = convolution(level, offsets, torch.ones(2, 9, *ODD[0]))
    raw = torch.corrcoef(torch.stack([found[:, :, 1:-2].flatten(), below[:, :, 1:-2].flatten()]))[0, 1]
    assert raw > 0.99  # the first row differs, which the norm spreads


def test_rereading_offsets_takes_the_same_memory_in_the_other_shape() -> None:
    values = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).float()
    reread = offsets_for(values, (2, 2), reread=True)
    assert reread.shape == (2, 3, 2, 2)
    assert reread[0].flatten().tolist() == list(range(12))  # the first channel, read on
    assert reread[1].flatten().tolist() == list(range(48, 60))


def test_resizing_offsets_keeps_each_channel_to_itself() -> None:
    values = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand(2, 3, 5, 7)
    resized = offsets_for(values, (3, 4), reread=False)
    assert_close(resized, torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand(2, 3, 3, 4))


@pytest.mark.parametrize("reread", [True, False])
def test_offsets_of_the_right_size_stay_as_they_are(reread: bool) -> None:
    values = torch.randn(2, 18, 5, 7)
    assert offsets_for(values, (5, 7), reread) is values


def test_the_two_readings_of_offsets_give_different_results() -> None:
    torch.manual_seed(0)
    released, resized = DyConv(8, 4, True, True), DyConv(8, 4, True, False)
    resized.load_state_dict(released.state_dict())
    first, second = released(levels_of()), resized(levels_of())
    assert not torch.allclose(first[0], second[0], atol=1e-4)
    assert torch.equal(first[2], second[2])  # the coarsest level has no coarser neighbour


def test_the_dynamic_relu_starts_near_the_plain_one() -> None:
    """θ = 0 gives a1 = 1, a2 = 0 and no shifts, as the released layer is centred."""
    relu = DynamicReLU(4)
    torch.nn.init.zeros_(relu.excite.weight)
    torch.nn.init.zeros_(relu.excite.bias)
    level = torch.randn(2, 4, 3, 3)
    assert_close(relu(level), level.relu())


def test_scale_attention_weighs_the_views_evenly_at_first() -> None:
    layer = DyConv(8, 4, False, False)
    torch.nn.init.zeros_(layer.scale_attention.weight)
    views = [torch.randn(1, 8, 3, 3) for _ in range(3)]
    assert_close(layer._weighted_mean(views), sum(views) / 3 / 2)  # hard sigmoid of 0 is one half
