"""Claims about chances that belong to a sample."""

from __future__ import annotations

import pytest
import torch

from glipv2.data.order import seed_of
from glipv2.structures.luck import uniform

CPU = torch.device("cpu")


def test_a_row_is_drawn_by_its_seed_alone() -> None:
    seeds = torch.tensor([seed_of(0, 1), seed_of(0, 2), seed_of(0, 3)])
    whole = uniform(seeds, 50, 0, 3, CPU)
    assert torch.equal(uniform(seeds[1:], 50, 0, 2, CPU), whole[1:])
    assert torch.equal(uniform(seeds, 30, 0, 3, CPU), whole[:, :30])
    assert not torch.equal(uniform(seeds, 50, 1, 3, CPU), whole)


def test_chances_are_even_and_independent() -> None:
    seeds = torch.tensor([seed_of("row", row) for row in range(200)])
    luck = torch.stack([uniform(seeds, 500, purpose, 200, CPU) for purpose in range(2)])
    assert 0 <= float(luck.min()) < 1e-4
    assert 1 - 1e-4 < float(luck.max()) < 1
    shares = torch.histc(luck, 10) / luck.numel()
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=0.005, rtol=0)
    for first, second in ((luck[0], luck[1]), (luck[0][:, :-1], luck[0][:, 1:]), (luck[0][:-1], luck[0][1:])):
        assert abs(float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])) < 0.02


def test_without_seeds_torchs_generator_decides() -> None:
    torch.manual_seed(3)
    first = uniform(None, 4, 0, 2, CPU)
    torch.manual_seed(3)
    assert torch.equal(first, uniform(None, 4, 5, 2, CPU))


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one_can_be_drawn(count: int) -> None:
    assert uniform(torch.tensor([1, 2]), count, 0, 2, CPU).shape == (2, count)
