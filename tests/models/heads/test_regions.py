"""Claims about the region head."""

from __future__ import annotations

import math

import torch
from torch.testing import assert_close

from glipv2.models.heads.regions import RegionHead, RegionHeadConfig
from glipv2.structures import Features

SIZES = ((4, 6), (2, 3))


def head(**options: object) -> RegionHead:
    torch.manual_seed(0)
    return RegionHeadConfig(**options).build(8, 12, 2)  # type: ignore[arg-type]


def features() -> Features:
    rng = torch.Generator().manual_seed(0)
    levels = tuple(torch.randn(2, 8, *size, generator=rng) for size in SIZES)
    return Features(levels, torch.randn(2, 5, 12, generator=rng), torch.tensor([[True] * 5, [True] * 3 + [False] * 2]))


def test_one_region_a_position_finest_level_first() -> None:
    outputs = head()(features())
    assert outputs.alignment_logits.shape == (2, 30, 5)
    assert outputs.box_deltas.shape == (2, 30, 4)
    assert outputs.centerness.shape == (2, 30)
    assert outputs.anchors.shape == (30, 4)
    assert outputs.level_sizes == (24, 6)


def test_anchors_lie_on_the_grid_of_their_level() -> None:
    anchors = head(anchor_scale=2.0).anchors(features().levels)
    assert anchors[0].tolist() == [-4, -4, 12, 12]  # stride 8, side 16, centre (4, 4)
    assert anchors[1].tolist() == [4, -4, 20, 12]  # one to the right
    assert anchors[6].tolist() == [-4, 4, 12, 20]  # one down
    assert anchors[24].tolist() == [-8, -8, 24, 24]  # stride 16
    assert head(inclusive_boxes=True).anchors(features().levels)[0].tolist() == [-28, -28, 35, 35]


def test_alignment_is_the_released_formula() -> None:
    own, given = head(log_scale=0.7), features()
    with torch.no_grad():
        own.word_bias.normal_()
    found = own(given).alignment_logits
    region = given.levels[1][1, :, 1, 2]  # row 24 + 1 * 3 + 2
    token = given.tokens[1, 2] / given.tokens[1, 2].norm()
    slow = region @ (own.words.weight @ (token / 2) + own.words.bias) / math.exp(0.7)
    slow = slow + token @ own.word_bias - math.log(99)
    assert_close(found[1, 29, 2], slow)


def test_before_training_every_word_is_improbable() -> None:
    own = head()
    with torch.no_grad():
        own.words.weight.zero_()
        own.words.bias.zero_()
    assert_close(own(features()).alignment_logits.sigmoid(), torch.full((2, 30, 5), 0.01))


def test_each_level_scales_its_own_deltas() -> None:
    own = head()
    before = own(features()).box_deltas
    with torch.no_grad():
        own.level_scales.copy_(torch.tensor([1.0, 3.0]))
    after = own(features()).box_deltas
    assert torch.equal(after[:, :24], before[:, :24])
    assert_close(after[:, 24:], before[:, 24:] * 3)


def test_words_without_fusion_are_silent_where_the_text_is_padded() -> None:
    own = head(fused_words=False)
    logits = own(features()).alignment_logits
    quiet = own._alignment(torch.zeros(1, 1, 8), torch.zeros(1, 1, 12))
    assert_close(logits[1, :, 3:] - logits[1, :, 3:4], torch.zeros(30, 2))
    loud = features()
    loud.tokens[1, 3:] = 100.0
    assert torch.equal(own(loud).alignment_logits, logits)
    assert quiet.shape == (1, 1, 1)


def test_enormous_logits_are_clamped() -> None:
    own = head(log_scale=-20.0)
    logits = own(features()).alignment_logits
    assert logits.abs().max() == 50_000
