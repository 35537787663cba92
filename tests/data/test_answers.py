"""Claims about soft targets: they are the accuracy that the official metric would give."""

from __future__ import annotations

import pytest

from glipv2.data.answers import AnswerList, agreement
from glipv2.metrics.answers import answer_accuracy


@pytest.mark.parametrize(("count", "score"), [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_of_ten_people_each_gives_three_tenths(count: int, score: float) -> None:
    assert agreement(count, 10) == pytest.approx(score)
    assert agreement(count, 10) == pytest.approx(min(0.3 * count, 1))


@pytest.mark.parametrize("people", [1, 2, 3, 4, 7, 10])
def test_a_target_is_what_the_answer_would_score(people: int) -> None:
    for count in range(1, people + 1):
        answers = ["cat"] * count + [f"other {index}" for index in range(people - count)]
        assert agreement(count, people) == pytest.approx(answer_accuracy("cat", answers))


def test_answers_are_found_whatever_their_case_and_others_count_for_nothing() -> None:
    known = AnswerList(("Yes", "no", "2"))
    assert known.rightness(("yes",)).tolist() == [1, 0, 0]
    assert known.rightness(("YES ", "no", "no", "maybe")).tolist() == pytest.approx([0.25, 0.5, 0])
    assert known.rightness(("maybe",)).tolist() == [0, 0, 0]
    assert known.knows_one_of(("maybe", "No"))
    assert not known.knows_one_of(("maybe",))
