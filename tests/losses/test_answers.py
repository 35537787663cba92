"""Claims about the answers' loss: literal values of both forms."""

from __future__ import annotations

import math

import pytest
import torch

from glipv2.losses.answers import answer_loss

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])


def test_exclusive_answers_are_a_cross_entropy_with_shares() -> None:
    first = math.log(math.exp(2) + 1 + math.exp(-1)) - 2
    assert answer_loss(LOGITS, torch.tensor([[1.0, 0, 0], [0.6, 0, 0.3]]), True).item() == pytest.approx(
        (first + math.log(3)) / 2
    )


def test_questions_without_a_right_answer_say_nothing_where_one_must_be_right() -> None:
    right = torch.tensor([[0.0, 1, 0], [0, 0, 0]])
    assert answer_loss(LOGITS, right, True).item() == pytest.approx(math.log(math.exp(2) + 1 + math.exp(-1)))
    assert answer_loss(LOGITS, torch.zeros(2, 3), True).item() == 0
    assert answer_loss(torch.zeros(0, 3), torch.zeros(0, 3), True).item() == 0


def test_answers_judged_alone_are_summed_and_averaged_over_questions() -> None:
    right = torch.tensor([[1.0, 0, 0], [0.3, 0, 0]])
    first = math.log(1 + math.exp(-2)) + math.log(2) + math.log(1 + math.exp(-1))
    assert answer_loss(LOGITS, right, False).item() == pytest.approx((first + 3 * math.log(2)) / 2)
    assert answer_loss(torch.zeros(0, 3), torch.zeros(0, 3), False).item() == 0
