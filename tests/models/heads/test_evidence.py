"""Claims about the evidence of words: objects are counted, not regions."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from glipv2.models.heads import evidence
from glipv2.models.heads.evidence import box_code, count_apart
from glipv2.structures import BoxConvention

PLAIN = BoxConvention()


def test_a_cluster_of_regions_is_one_object_however_many_it_has() -> None:
    here, there = torch.tensor([0.0, 0.0, 20.0, 20.0]), torch.tensor([40.0, 40.0, 70.0, 60.0])
    boxes = torch.stack([here, here + 1, here + 2, there, there + 1])[None]
    both = torch.full((1, 5, 1), 0.9)
    one = torch.tensor([0.9, 0.9, 0.9, 0.1, 0.1])[None, :, None]
    nothing = torch.full((1, 5, 1), 0.1)
    counts = count_apart(boxes, torch.cat([both, one, nothing], dim=2), (0.5, 0.05), PLAIN)
    assert_close(counts, torch.tensor([[[2.0, 2.0], [1.0, 2.0], [0.0, 2.0]]]))


def test_counting_the_best_regions_alone_gives_the_same_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(0)
    corners = torch.rand(1, 64, 2, generator=rng) * 100
    boxes = torch.cat([corners, corners + 12], dim=2)
    scores = torch.rand(1, 64, 3, generator=rng) * 0.1
    scores[0, :5] = 0.9
    every = evidence._numbers(boxes, scores, PLAIN)
    monkeypatch.setattr(evidence, "COUNTED", 20)
    assert_close(evidence._numbers(boxes, scores, PLAIN), every)
    assert every.sum() > 0


def test_numbers_are_steps() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [50.0, 0.0, 60.0, 10.0]]])
    steps = evidence._numbers(boxes, torch.full((1, 2, 1), 0.45), PLAIN)
    assert_close(steps[0, 0].view(4, 7).sum(dim=1), torch.tensor([2.0, 2.0, 2.0, 0.0]))  # sure from 0.2, 0.3, 0.4, 0.5
    assert_close(steps[0, 0, :3], torch.tensor([1.0, 1.0, 0.0]))


def test_a_code_tells_place_and_size_apart() -> None:
    small, large, moved = box_code(torch.tensor([[[10.0, 10, 20, 20], [5.0, 5, 25, 25], [30.0, 10, 40, 20]]]), 5)[0]
    assert_close(small[:-2], large[:-2])
    assert not torch.allclose(small[-2:], large[-2:])
    assert_close(small[-2:], moved[-2:])
    assert not torch.allclose(small[:-2], moved[:-2], atol=0.1)
