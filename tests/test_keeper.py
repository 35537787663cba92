"""Claims about what is kept of a validation."""

from __future__ import annotations

from collections import Counter
from typing import Any

from glipv2.keeper import Kept, Pictures, outcomes

NOBODY: Any = None


def test_the_first_the_best_and_the_worst_are_kept_and_of_equal_ones_the_earlier() -> None:
    pictures = Pictures(3, 2)
    for place, score in enumerate([0.5, 0.9, None, 0.1, 0.9, 0.1, 0.9, 0.4]):
        pictures.add(Kept(place, score, NOBODY, NOBODY))
    places = {name: [one.place for one in kept] for name, kept in pictures.folders().items()}
    assert places == {"": [0, 1, 2], "best": [1, 4], "worst": [3, 5]}


def test_without_a_gallery_nothing_is_kept() -> None:
    pictures = Pictures(0, 0)
    pictures.add(Kept(0, 0.5, NOBODY, NOBODY))
    assert pictures.folders() == {"": [], "best": [], "worst": []}


def test_a_gallery_that_shows_all_pictures_has_no_best_and_worst_ones() -> None:
    pictures = Pictures(3, 2)
    for place in range(3):
        pictures.add(Kept(place, 0.5, NOBODY, NOBODY))
    assert [one.place for one in pictures.folders()[""]] == [0, 1, 2]
    assert list(pictures.folders()) == [""]


def test_outcomes_of_phrases_and_answers_are_counted_apart() -> None:
    assert outcomes(Counter()) is None
    phrases = outcomes(Counter({("found",): 3, ("loose",): 1}))
    assert phrases == {"of": "phrases", "count": 4, "kinds": {"found": 3, "loose": 1}}
    answers = outcomes(Counter({("count", "two", "two"): 3, ("count", "two", "three"): 2, ("color", "red", "blue"): 1}))
    assert answers == {
        "of": "answers", "count": 6,
        "by_kind": {"count": {"right": 3, "wrong": 2}, "color": {"right": 0, "wrong": 1}},
        "confusion": [["count", "two", "three", 2], ["color", "red", "blue", 1]],
    }  # fmt: skip
