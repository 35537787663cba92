"""Claims about the mask loss."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from glipv2.losses.masks import MaskLossConfig, dice_loss, jittered, mask_loss

CONFIG = MaskLossConfig()


def test_undecided_masks_cost_a_bit_in_every_cell() -> None:
    targets = torch.zeros(3, 4, 4)
    targets[0] = 1
    assert_close(mask_loss(torch.zeros(3, 4, 4), targets, CONFIG), torch.tensor(math.log(2)))
    assert_close(mask_loss(torch.zeros(3, 4, 4), targets, MaskLossConfig(weight=0.5)), torch.tensor(math.log(2) / 2))


def test_perfect_shares_cost_nothing() -> None:
    targets = torch.tensor([[[0.25, 0.5], [0.9, 0.01]]])
    assert mask_loss(targets.logit(), targets, CONFIG).item() == pytest.approx(0, abs=1e-6)
    whole = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    assert mask_loss((whole - 0.5) * 100, whole, CONFIG).item() == pytest.approx(0, abs=1e-6)


def test_the_gradient_is_that_of_the_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 5, 5, requires_grad=True), torch.rand(2, 5, 5)
    (ours,) = torch.autograd.grad(mask_loss(logits, targets, CONFIG), logits)
    (theirs,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(logits, targets), logits)
    assert_close(ours, theirs)


def test_every_instance_counts_the_same() -> None:
    logits, targets = torch.randn(4, 3, 3), torch.rand(4, 3, 3)
    each = [mask_loss(logits[i : i + 1], targets[i : i + 1], CONFIG) for i in range(4)]
    assert_close(mask_loss(logits, targets, CONFIG), torch.stack(each).mean())


def test_no_instance_is_no_loss_and_no_fault() -> None:
    logits = torch.zeros(0, 4, 4, requires_grad=True)
    for config in (CONFIG, MaskLossConfig(dice_weight=1.0)):
        loss = mask_loss(logits, torch.zeros(0, 4, 4), config)
        loss.backward()
        assert loss.item() == 0


def test_dice_knows_right_wrong_and_empty_masks() -> None:
    mask = torch.zeros(1, 4, 4)
    mask[0, :2] = 1
    assert dice_loss(mask, mask).item() == 0
    assert dice_loss(1 - mask, mask).item() == pytest.approx(1 - 1 / 17)
    assert dice_loss(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)).item() == 0
    assert mask_loss((mask - 0.5) * 100, mask, MaskLossConfig(dice_weight=1.0)).item() == pytest.approx(0, abs=1e-6)
    joined = mask_loss(torch.zeros(1, 4, 4), mask, MaskLossConfig(dice_weight=2.0))
    assert joined.item() == pytest.approx(math.log(2) + 2 * (1 - (2 * 4 + 1) / (16 * 0.25 + 8 + 1)))


def test_jitter_moves_every_corner_by_no_more_than_its_share_and_not_out_of_the_image() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[40.0, 20.0, 60.0, 70.0], [0.0, 0.0, 100.0, 80.0]]).repeat(200, 1)
    sizes = torch.tensor([[80, 100]]).expand(400, -1)
    luck = torch.rand(400, 4)
    moved = jittered(boxes, 0.1, sizes, luck)
    shift = (moved - boxes)[::2]
    assert (shift.abs() <= torch.tensor([2.0, 5.0, 2.0, 5.0])).all()
    assert (shift.amax(dim=0) > torch.tensor([1.8, 4.5, 1.8, 4.5])).all()
    assert (shift.amin(dim=0) < -torch.tensor([1.8, 4.5, 1.8, 4.5])).all()
    assert (moved >= 0).all()
    assert (moved <= torch.tensor([100, 80, 100, 80])).all()
    assert torch.equal(jittered(boxes, 0.0, sizes, luck), boxes)
