"""Claims about the image encoder: any timm backbone, and maps of the right size."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from glipv2.errors import UserError
from glipv2.models import swin
from glipv2.models.image import DropBlock, FeaturePyramid, ImageEncoder, ImageEncoderConfig

SWIN: dict[str, Any] = {"embed_dim": 24, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 3, 4], "strict_img_size": False}
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("resnet10t", {"stem_width": 8, "channels": [8, 16, 24, 32]}),
    ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}),
    ("efficientnet_lite0", {}),
    ("tf_efficientnet_lite0", {}),
    ("swin_tiny_patch4_window7_224", SWIN),
]


def encoder(backbone: str, options: dict[str, Any], **others: Any) -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoderConfig(backbone, options, width=16, **others).build().eval()


@pytest.mark.parametrize(("backbone", "options"), KINDS, ids=[name for name, _ in KINDS])
@torch.no_grad()
def test_every_kind_of_backbone_gives_maps_of_the_pyramids_sizes(backbone: str, options: dict[str, Any]) -> None:
    own = encoder(backbone, options)
    for height, width in ((64, 96), (32, 224)):
        levels = own(torch.randn(2, 3, height, width))
        assert [tuple(level.shape) for level in levels] == [
            (2, 16, math.ceil(height / stride), math.ceil(width / stride)) for stride in (8, 16, 32, 64, 128)
        ]
        assert all(torch.isfinite(level).all() for level in levels)


@pytest.mark.parametrize("backbone", ["resnet10t", "efficientnet_lite0", "tf_efficientnet_lite0"])
@torch.no_grad()
def test_convolutional_backbones_round_odd_sizes_up(backbone: str) -> None:
    levels = encoder(backbone, dict(KINDS)[backbone])(torch.randn(1, 3, 75, 109))
    assert [tuple(level.shape[-2:]) for level in levels] == [(10, 14), (5, 7), (3, 4), (2, 2), (1, 1)]


@torch.no_grad()
def test_released_windows_equal_timms_where_nothing_is_padded() -> None:
    """On maps of whole windows both orders of padding and shifting are the same."""
    options = {**SWIN, "always_partition": True}
    own = encoder("swin_tiny_patch4_window7_224", options)
    released = encoder("swin_tiny_patch4_window7_224", options, pad_then_shift=True)
    released.load_state_dict(own.state_dict())
    whole, part = torch.randn(1, 3, 224, 224), torch.randn(1, 3, 200, 168)
    assert_close(released(whole), own(whole))
    assert not torch.allclose(released(part)[0], own(part)[0], atol=1e-4)


def test_features_are_named_by_stride_and_the_finest_comes_first() -> None:
    channels = encoder("resnet10t", KINDS[0][1]).backbone.feature_info
    assert (channels.reduction(), channels.channels()) == ([8, 16, 32], [16, 24, 32])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ImageEncoderConfig("resnet118"), "timm has no model 'resnet118'; did you mean 'resnet1"),
        (ImageEncoderConfig("vit_tiny_patch16_224"), "needed are \\(8, 16, 32\\)"),
        (ImageEncoderConfig("resnet10t", {"chanels": [8]}), "timm could not build 'resnet10t' with .*chanels"),
        (ImageEncoderConfig("resnet10t", KINDS[0][1], levels=2), "model.image.levels: expected at least 3, but got 2"),
        (ImageEncoderConfig("resnet10t", KINDS[0][1], pad_then_shift=True), "only Swin backbones have windows"),
        (ImageEncoderConfig("resnet10t", KINDS[0][1], weights="/nowhere.pth"), "/nowhere.pth: no such weights file"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused_in_one_line(config: ImageEncoderConfig, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        config.build()
    assert len(str(caught.value).splitlines()) == 1


# The pyramid


@torch.no_grad()
def test_the_coarse_levels_read_the_last_output_and_then_its_positive_part() -> None:
    torch.manual_seed(0)
    pyramid = FeaturePyramid([4, 4, 4], 8, 5, 0.0)
    maps = [torch.randn(1, 4, *size) for size in ((8, 8), (4, 4), (2, 2))]
    levels = pyramid(maps)
    p6 = pyramid.extra[0](levels[2])
    assert torch.equal(levels[3], p6)
    assert torch.equal(levels[4], pyramid.extra[1](p6.relu()))
    assert (levels[3] < 0).any()  # returned as it is


@torch.no_grad()
def test_the_top_down_path_is_by_nearest_neighbour_before_the_output_convolution() -> None:
    pyramid = FeaturePyramid([1, 1, 1], 1, 3, 0.0)
    for convolution in (*pyramid.lateral, *pyramid.output):
        torch.nn.init.dirac_(convolution.weight)
    fine, middle, coarse = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0]]]])
    middle[..., 0, 1] = 10
    levels = pyramid([fine, middle, coarse])
    assert levels[1].flatten().tolist() == [1, 11, 1, 1]
    assert levels[0][0, 0].tolist() == [[1, 1, 11, 11], [1, 1, 11, 11], [1, 1, 1, 1], [1, 1, 1, 1]]


# Dropping blocks


def test_blocks_are_dropped_in_all_channels_at_once_and_the_rest_is_scaled_up() -> None:
    torch.manual_seed(0)
    maps = torch.ones(4, 3, 40, 40)
    dropped = DropBlock(0.3).train()(maps)
    zero = dropped == 0
    assert 0.15 < zero.float().mean() < 0.35
    assert torch.equal(zero[:, 0], zero[:, 1])
    assert_close(dropped.mean(), torch.tensor(1.0), atol=1e-4, rtol=0)
    inner = zero[:, :1, 1:-1, 1:-1].float()
    grown = torch.nn.functional.max_pool2d(
        torch.nn.functional.avg_pool2d(zero[:, :1].float(), 3, 1).eq(1).float(), 3, 1
    )
    assert torch.equal(inner[..., 1:-1, 1:-1], grown)  # every dropped position lies in a whole 3 x 3 block


def test_nothing_is_dropped_in_evaluation_nor_everything_in_training() -> None:
    maps = torch.ones(1, 1, 2, 2)
    assert torch.equal(DropBlock(0.9).eval()(maps), maps)
    assert torch.isfinite(DropBlock(9.0).train()(maps)).all()  # each position seeds a block


def test_a_map_in_blocks_is_the_map_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    released = encoder("swin_tiny_patch4_window7_224", SWIN, pad_then_shift=True)
    pictures = torch.randn(2, 3, 96, 160)
    at_once = [level.detach() for level in released(pictures)]  # with a gradient nothing is cut into blocks
    for block in (1, 400_000):  # a row of windows and a position each, and several
        monkeypatch.setattr(swin, "BLOCK", block)
        with torch.no_grad():
            for part, level in zip(released(pictures), at_once, strict=True):
                assert_close(part, level)


@torch.no_grad()
def test_a_block_leaves_the_map_that_it_is_given_and_drops_paths_while_training() -> None:
    blocks = encoder("swin_tiny_patch4_window7_224", {**SWIN, "drop_path_rate": 0.9}, pad_then_shift=True).modules()
    last = [module for module in blocks if isinstance(module, swin.PadThenShiftBlock)][-1]
    given = torch.randn(8, 9, 11, last.dim)
    kept = given.clone()
    assert not torch.equal(last(given), kept)
    assert torch.equal(given, kept)
    untouched = (last.train()(given) == kept).flatten(1).all(dim=1)
    assert untouched.any()  # both paths of some maps were dropped, nine times of ten each
