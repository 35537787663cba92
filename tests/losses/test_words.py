"""Claims about masked words."""

from __future__ import annotations

import pytest
import torch

from glipv2.losses.words import IGNORED, MaskedWordsConfig, mask_words, word_loss

MASK, VOCAB = 4, 1000


def test_only_what_may_be_hidden_is_touched_and_what_stood_there_is_kept() -> None:
    torch.manual_seed(0)
    ids = torch.randint(10, VOCAB, (4, 50))
    maskable = torch.rand(4, 50) < 0.5
    changed, targets = mask_words(ids, maskable, MASK, VOCAB, MaskedWordsConfig(probability=0.6))
    chosen = targets != IGNORED
    assert chosen.any()
    assert not (chosen & ~maskable).any()
    assert torch.equal(changed[~chosen], ids[~chosen])
    assert torch.equal(targets[chosen], ids[chosen])


def test_shares_are_those_of_bert() -> None:
    torch.manual_seed(0)
    ids = torch.full((400, 500), 7)
    changed, targets = mask_words(ids, torch.ones_like(ids, dtype=torch.bool), MASK, VOCAB, MaskedWordsConfig())
    chosen = targets != IGNORED
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.005)
    hidden = (changed[chosen] == MASK).float().mean().item()
    kept = (changed[chosen] == 7).float().mean().item()
    assert hidden == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1, abs=0.01)
    assert len(changed[chosen].unique()) > 500  # the rest: any word


def test_the_loss_is_the_mean_over_hidden_words_and_zero_without_any() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [5.0, 5.0]], requires_grad=True)
    loss = word_loss(logits, torch.tensor([0, 1, IGNORED]))
    assert loss.item() == pytest.approx((0.126928 + 0.693147) / 2, abs=1e-5)
    none = word_loss(logits[:0], torch.zeros(0, dtype=torch.int64))
    none.backward()
    assert none.item() == 0
