"""Claims about the model's input: the released resize rule, channel order, padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from glipv2.pixels import PixelConfig

RELEASED = PixelConfig(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr=True)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1066)),
        ((640, 480), (1066, 800)),
        ((427, 640), (800, 1199)),
        ((1000, 3000), (444, 1332)),  # the short side from the bound (rounded), the long one from it (cut)
        ((3000, 1000), (1332, 444)),
        ((500, 500), (800, 800)),
        ((800, 1000), (800, 1000)),  # as it is
        ((1600, 1600), (800, 800)),
    ],
)
def test_sizes_follow_the_released_rule(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert PixelConfig().target_size(size) == expected


def released_size(width: int, height: int, size: int, most: int) -> tuple[int, int]:
    """The released rule told step by step; the answer as (height, width)."""
    shorter, longer = float(min(width, height)), float(max(width, height))
    if longer / shorter * size > most:
        size = round(most * shorter / longer)  # a half goes to the even neighbour
    if min(width, height) == size:
        return height, width
    if width < height:
        return int(size * height / width), size
    return size, int(size * width / height)


SIDES = st.integers(1, 6000)


@settings(max_examples=400, deadline=None)
@given(SIDES, SIDES, st.sampled_from([(800, 1333), (480, 1333), (640, 1333), (128, 256), (255, 447)]))
@example(1333, 800, (800, 1333))
@example(1334, 800, (800, 1333))  # 799.4 is nearest to 799
@example(2666, 1333, (800, 1333))  # 666.5 goes to 666
@example(333, 250, (800, 1333))
def test_odd_sizes_follow_the_released_rule_too(width: int, height: int, bounds: tuple[int, int]) -> None:
    size, most = bounds
    expected = released_size(width, height, size, most)
    if min(expected) >= 1:  # the released code fails on slivers
        assert PixelConfig(short_side=size, max_long_side=most).target_size((height, width)) == expected
        assert PixelConfig(max_long_side=most).target_size((height, width), short_side=size) == expected


def test_a_drawn_short_side_replaces_the_models_own() -> None:
    assert PixelConfig().target_size((480, 640), short_side=480) == (480, 640)
    assert PixelConfig().target_size((480, 640), short_side=640) == (640, 853)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2, 5000), (1, 2500)),  # the released rule lets the long side grow while the short one has a pixel
        ((1, 5000), (1, 1333)),
        ((5000, 1), (1333, 1)),
        ((1, 1_000_000), (1, 1333)),
        ((1, 1), (800, 800)),
    ],
)
def test_a_sliver_keeps_a_pixel_a_side_and_its_length(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert PixelConfig().target_size(size) == expected


@given(SIDES, SIDES)
def test_no_size_has_a_side_without_pixels(width: int, height: int) -> None:
    assert min(PixelConfig().target_size((height, width))) >= 1


def test_channels_are_blue_first_where_the_model_was_trained_so() -> None:
    red = torch.zeros(3, 1, 1, dtype=torch.uint8)
    red[0] = 255
    assert_close(
        RELEASED.normalize(red)[:, 0, 0],
        torch.tensor([-103.53 / 57.375, -116.28 / 57.12, (255 - 123.675) / 58.395]),
    )
    assert_close(
        PixelConfig().normalize(red)[:, 0, 0],
        torch.tensor([(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375]),
    )


def test_padding_is_zero_after_normalisation_on_the_right_and_below() -> None:
    black = torch.zeros(3, 20, 40, dtype=torch.uint8)
    tall = torch.full((3, 50, 10), 255, dtype=torch.uint8)
    batch = PixelConfig().batch([black, tall])
    assert batch.pixels.shape == (2, 3, 64, 64)
    assert batch.image_sizes.tolist() == [[20, 40], [50, 10]]
    assert (batch.pixels[0, :, :20, :40] < -1.7).all()  # black is not zero
    assert int((batch.pixels[0] == 0).sum()) == 3 * (64 * 64 - 20 * 40)
    assert (batch.pixels[1, :, :, 10:] == 0).all()
    assert (batch.pixels[1, :, 50:] == 0).all()


def test_padded_sizes_are_multiples_of_the_divisor() -> None:
    image = torch.zeros(3, 33, 64, dtype=torch.uint8)
    assert PixelConfig().batch([image]).pixels.shape == (1, 3, 64, 64)
    assert PixelConfig(size_divisor=1).batch([image]).pixels.shape == (1, 3, 33, 64)


def test_an_image_is_the_same_alone_and_in_a_batch() -> None:
    rng = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (3, *size), generator=rng, dtype=torch.uint8) for size in ((30, 50), (60, 20))]
    batch = PixelConfig().batch(images).pixels
    for row, image in zip(batch, images, strict=True):
        alone = PixelConfig().batch([image]).pixels[0]
        assert torch.equal(row[:, : alone.shape[1], : alone.shape[2]], alone)
