"""Claims about ranked boxes of phrases: each phrase has its own best, whatever the others score."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.models.heads.selection import RankingConfig, ranked_boxes
from glipv2.structures import BoxConvention, RegionOutputs

PLAIN = BoxConvention()
WORDS = torch.tensor([[1, 0, 0], [0, 1, 1]]).bool()  # the first phrase has one token, the second two


def outputs(logits: Tensor, boxes: Tensor, centerness: float = 20.0) -> RegionOutputs:
    """Regions [R] that predict exactly their anchors."""
    return RegionOutputs(
        logits[None], torch.zeros(1, len(boxes), 4), torch.full((1, len(boxes)), centerness), boxes, (len(boxes),)
    )


BOXES = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 60, 60], [80, 0, 90, 30]])
LOGITS = torch.tensor([[4.0, -9, -9], [3, -9, -9], [-6, 0, 2], [-7, -5, -5]])
FOUND = outputs(LOGITS, BOXES)


def ranked(config: RankingConfig, found: RegionOutputs = FOUND, words: Tensor = WORDS) -> dict[int, list[list[float]]]:
    boxes = ranked_boxes(found, 0, words, (100, 100), PLAIN, config)
    assert boxes.scores.tolist() == sorted(boxes.scores.tolist(), reverse=True)
    return {place: boxes.boxes[boxes.labels == place].tolist() for place in range(len(words))}


def test_each_phrase_has_its_own_best_boxes_first() -> None:
    found = ranked(RankingConfig())
    assert found[0] == [BOXES[0].tolist(), BOXES[2].tolist(), BOXES[3].tolist()]  # the second box is covered
    assert found[1][0] == BOXES[2].tolist()
    assert len(found[1]) == 3


def test_a_phrase_that_scores_low_everywhere_keeps_its_boxes() -> None:
    weak = LOGITS.clone()
    weak[:, 1:] -= 12
    assert ranked(RankingConfig(boxes=1), outputs(weak, BOXES))[1] == [BOXES[2].tolist()]


def test_only_so_many_boxes_a_phrase_and_only_good_ones() -> None:
    assert [len(boxes) for boxes in ranked(RankingConfig(boxes=2)).values()] == [2, 2]
    assert [len(boxes) for boxes in ranked(RankingConfig(candidates=1)).values()] == [1, 1]
    assert [len(boxes) for boxes in ranked(RankingConfig(min_score=0.5)).values()] == [1, 1]
    assert [len(boxes) for boxes in ranked(RankingConfig(min_score=0.995)).values()] == [0, 0]


def test_scores_are_roots_of_probability_times_centerness() -> None:
    boxes = ranked_boxes(outputs(LOGITS, BOXES, centerness=0.0), 0, WORDS, (100, 100), PLAIN, RankingConfig(boxes=1))
    own = LOGITS[2, 1:].sigmoid().mean()
    assert_close(boxes.scores, torch.stack([LOGITS[0, 0].sigmoid() * 0.5, own * 0.5]).sqrt())


@pytest.mark.parametrize("phrases", [0, 3])
def test_phrases_without_words_have_no_boxes(phrases: int) -> None:
    found = ranked(RankingConfig(), words=torch.zeros(phrases, 3, dtype=torch.bool))
    assert all(boxes == [] for boxes in found.values())


def test_phrases_beside_it_change_nothing_of_a_phrase() -> None:
    alone = ranked(RankingConfig(), words=WORDS[1:])
    assert alone[0] == ranked(RankingConfig())[1]


def test_boxes_are_cut_to_the_image() -> None:
    boxes = ranked_boxes(FOUND, 0, WORDS, (50, 50), PLAIN, replace(RankingConfig(), min_score=0.5))
    assert boxes.boxes.max() == 50
