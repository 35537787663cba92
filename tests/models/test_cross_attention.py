"""Claims about folded cross-attention: what it computes, when it is chosen, what it never holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from glipv2.kernels import folding_is_cheaper
from glipv2.models import cross_attention
from glipv2.models.cross_attention import CrossAttention
from glipv2.models.fusion import FusionConfig

MASK = torch.tensor([[True] * 7, [True] * 5 + [False] * 2])


class DropSmall(nn.Module):
    """Stands for dropout, the same whatever the layout: a probability in the middle is dropped, others grow."""

    p = 0.1

    def forward(self, probabilities: Tensor) -> Tensor:
        return probabilities.where((probabilities < 0.02) | (probabilities > 0.1), torch.zeros(())) / 0.9


@pytest.fixture
def cross() -> CrossAttention:
    """In float64, with every bias and scale drawn at random."""
    torch.manual_seed(0)
    module = CrossAttention(FusionConfig(attention_width=64, heads=4, dropout=0.1), 16, 24).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def both_ways(cross: CrossAttention, monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """Outputs and all gradients, folded and projected."""
    torch.manual_seed(1)
    image = torch.randn(2, 50, 16, dtype=torch.float64, requires_grad=True)
    text = torch.randn(2, 7, 24, dtype=torch.float64, requires_grad=True)
    ways = []
    for folded in (True, False):
        monkeypatch.setattr(CrossAttention, "folds", lambda *_, folded=folded: folded)
        outputs = list(cross(image, text, MASK))
        outputs[1] = outputs[1][MASK]
        torch.manual_seed(2)
        weighted = [(output * torch.randn_like(output)).sum() for output in outputs]
        ways.append([*outputs, *torch.autograd.grad(torch.stack(weighted).sum(), [image, text, *cross.parameters()])])
    return ways


def test_folded_outputs_and_gradients_are_the_projected_ones(
    cross: CrossAttention, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded, projected = both_ways(cross, monkeypatch)
    assert min(float(values.detach().abs().max()) for values in projected[:5]) > 1e-3  # worth comparing
    for one, other in zip(folded, projected, strict=True):
        assert_close(one, other, atol=1e-9, rtol=1e-9)


def test_dropout_drops_the_same_folded_biases_included(cross: CrossAttention, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = both_ways(cross, monkeypatch)
    cross.dropout = DropSmall()  # type: ignore[assignment]
    cross.train()
    folded, projected = both_ways(cross, monkeypatch)
    assert not torch.allclose(folded[1], plain[1], atol=1e-3)
    for one, other in zip(folded, projected, strict=True):
        assert_close(one, other, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_blocks_of_positions_give_what_all_at_once_give(cross: CrossAttention, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    image, text = torch.randn(2, 50, 16).double(), torch.randn(2, 7, 24).double()
    image[:, 20:30] *= 30  # larger scores come late
    monkeypatch.setattr(CrossAttention, "folds", lambda *_: True)
    with torch.enable_grad():
        whole = cross(image, text, MASK)
    for scores in (1, 2 * 4 * 7 * 7, 10**9):  # one position at a time, seven, all
        monkeypatch.setitem(cross_attention.BLOCK_OF_SCORES, "cpu", scores)
        told, read = cross(image, text, MASK)
        assert_close(told, whole[0].detach(), atol=1e-10, rtol=1e-10)
        assert_close(read, whole[1].detach(), atol=1e-10, rtol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_padding_stays_a_number_in_every_precision(cross: CrossAttention, dtype: torch.dtype) -> None:
    """A text layer multiplies it by 0, which makes no number of none."""
    image, text = torch.randn(2, 50, 16), torch.randn(2, 7, 24)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            assert all(torch.isfinite(found).all() for found in cross.float()(image, text, MASK))


def test_released_models_fold_at_every_length_and_narrow_heads_only_short_texts() -> None:
    assert folding_is_cheaper(22_400, 9, heads=8, attention_width=2048, image_width=256)
    assert folding_is_cheaper(22_400, 256, heads=8, attention_width=2048, image_width=256)
    assert not folding_is_cheaper(100, 256, heads=8, attention_width=2048, image_width=256)  # a tiny picture
    assert folding_is_cheaper(336, 32, heads=2, attention_width=128, image_width=128)  # nano
    assert not folding_is_cheaper(336, 160, heads=2, attention_width=128, image_width=128)
