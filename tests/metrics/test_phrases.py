"""Claims about recall of phrases, done by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.metrics.phrases import NEVER, PhraseScores, first_hits, phrase_recall
from glipv2.structures.truth import SentenceTruth

LEFT, RIGHT, BOTH = (0, 0, 10, 10), (90, 0, 100, 10), (0, 0, 100, 10)
NOWHERE = (500, 500, 510, 510)


def boxes(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def sentence(*phrases: Tensor, kinds: tuple[tuple[str, ...], ...] = (), sentence_id: int = 0) -> SentenceTruth:
    return SentenceTruth(1, sentence_id, phrases, kinds or (("people",),) * len(phrases))


def scored(found: list[Tensor], *phrases: Tensor, kinds: tuple[tuple[str, ...], ...] = ()) -> PhraseScores:
    return phrase_recall([found], [sentence(*phrases, kinds=kinds)])


def test_one_box_of_several_is_a_hit_under_any_box_and_the_hull_under_merged_box() -> None:
    one = scored([boxes(RIGHT)], boxes(LEFT, RIGHT))
    assert (one.any_box.at_1, one.merged_box.at_1) == (1, 0)
    hull = scored([boxes(BOTH)], boxes(LEFT, RIGHT))
    assert (hull.any_box.at_1, hull.merged_box.at_1) == (0, 1)


@pytest.mark.parametrize(
    ("rank", "expected"), [(0, (1, 1, 1, 1)), (4, (0, 1, 1, 1)), (9, (0, 0, 1, 1)), (11, (0, 0, 0, 1))]
)
def test_the_first_hit_decides_which_recalls_count_it(rank: int, expected: tuple[int, ...]) -> None:
    rows = [NOWHERE] * 12
    rows[rank] = LEFT
    own = scored([boxes(*rows)], boxes(LEFT)).any_box
    assert (own.at_1, own.at_5, own.at_10, own.upper_bound) == expected


def test_an_overlap_of_exactly_half_is_a_hit_and_a_little_less_a_miss() -> None:
    assert scored([boxes((0, 0, 10, 20))], boxes(LEFT)).any_box.at_1 == 1
    assert scored([boxes((0, 0, 10, 20.25))], boxes(LEFT)).any_box.upper_bound == 0


def test_a_phrase_of_two_types_counts_in_both_and_once_in_all() -> None:
    scores = scored(
        [boxes(LEFT), boxes(NOWHERE)], boxes(LEFT), boxes(RIGHT), kinds=(("people", "clothing"), ("animals",))
    )
    assert scores.any_box.phrases == 2
    assert scores.any_box.at_1 == 0.5
    assert {kind: own.at_1 for kind, own in scores.any_box_by_kind.items()} == {
        "animals": 0,
        "clothing": 1,
        "people": 1,
    }


def test_a_phrase_for_which_nothing_was_found_is_a_miss() -> None:
    assert scored([boxes(), boxes(LEFT)], boxes(LEFT), boxes(LEFT)).any_box.upper_bound == 0.5


def test_the_first_prediction_of_a_sentence_counts() -> None:
    right, wrong = [boxes(LEFT)], [boxes(NOWHERE)]
    own, other = sentence(boxes(LEFT)), sentence(boxes(LEFT), sentence_id=1)
    assert phrase_recall([right, wrong], [own, own]).any_box.at_1 == 1
    assert phrase_recall([wrong, right], [own, own]).any_box.at_1 == 0
    assert phrase_recall([right, wrong], [own, other]).any_box.at_1 == 0.5


def test_a_sentence_without_phrases_counts_nothing() -> None:
    scores = phrase_recall([[], [boxes(LEFT)]], [sentence(sentence_id=1), sentence(boxes(LEFT))])
    assert scores.any_box.phrases == 1


def test_first_hits_of_many_phrases_at_once_are_those_of_each() -> None:
    rng = torch.Generator().manual_seed(0)

    def some(count: int) -> Tensor:
        corner = torch.randint(0, 4, (count, 2), generator=rng)
        return torch.cat([corner, corner + torch.randint(1, 4, (count, 2), generator=rng)], dim=1).float()

    found = [some(int(torch.randint(0, 9, (), generator=rng))) for _ in range(60)]
    targets = [some(int(torch.randint(1, 4, (), generator=rng))) for _ in range(60)]
    alone = [int(first_hits([own], [target])) for own, target in zip(found, targets, strict=True)]
    assert first_hits(found, targets).tolist() == alone
    assert 0 < alone.count(NEVER) < 50
    assert len(set(alone)) > 4
    assert first_hits([], []).tolist() == []


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="expected boxes for 1 phrases of sentence 0 of image 1, but got 2 lists"):
        scored([boxes(LEFT), boxes(LEFT)], boxes(LEFT))
    with pytest.raises(UserError, match="sentence 0 of image 1 has a phrase without a box"):
        scored([boxes(LEFT)], boxes())
    with pytest.raises(UserError, match="boxes for sentence 0 of image 1 are not finite"):
        scored([boxes((0, 0, float("nan"), 1))], boxes(LEFT))


def test_the_logged_names() -> None:
    flat = scored([boxes(LEFT)], boxes(LEFT)).flat("grounding")
    assert list(flat)[:4] == [
        f"grounding/any_box_{name}" for name in ("recall_1", "recall_5", "recall_10", "upper_bound")
    ]
    assert "grounding/people/merged_box_recall_10" in flat
    assert len(flat) == 16
