"""Claims about the accuracy of answers, done by hand."""

from __future__ import annotations

import pytest

from glipv2.errors import UserError
from glipv2.metrics.answers import answer_accuracy, vqa_accuracy
from glipv2.structures.answer_strings import CONTRACTIONS, normalised, trimmed, without_punctuation
from glipv2.structures.truth import AnswerTruth


def people(*said: tuple[str, int]) -> tuple[str, ...]:
    return tuple(answer for answer, count in said for _ in range(count))


@pytest.mark.parametrize(("matches", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1)])
def test_three_others_who_agree_are_enough(matches: int, accuracy: float) -> None:
    assert answer_accuracy("dog", people(("dog", matches), ("zebra", 10 - matches))) == pytest.approx(accuracy)


def test_where_all_agree_nothing_is_normalised() -> None:
    assert answer_accuracy("Dog", people(("dog", 10))) == 0
    assert answer_accuracy("a dog", people(("dog", 10))) == 0
    assert answer_accuracy("\tdog\n", people((" dog", 5), ("dog", 5))) == 1  # the ends are stripped before
    assert answer_accuracy("The dog!", people(("dog", 9), ("cat", 1))) == 1


def test_fewer_than_four_people_can_still_all_agree() -> None:
    assert answer_accuracy("red", ("red",)) == 1
    assert answer_accuracy("blue", ("red",)) == 0
    assert answer_accuracy("red", ("red", "red")) == 1
    assert answer_accuracy("red", ("red", "blue")) == 0.5
    assert answer_accuracy("red", ("red", "red", "red")) == 1


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("Two dogs", "2 dogs"),
        ("none of the above", "0 of above"),
        ("the a an", ""),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("oclock", "o'clock"),
        ("well", "well"),  # no contraction of "we'll"
        ("id", "id"),
        ("t-shirt", "t shirt"),
        ("t- shirt", "t shirt"),
        ("1,000", "1000"),
        ("1,000-2", "10002"),  # a comma in a number lets all signs vanish
        ("3.5", "3.5"),
        ("3.", "3"),
        ("u.s.a.", "usa"),
        ("dog's", "dog's"),
        ("50%: #1 & more", "50%: #1 & more"),
        ("  A   cat ", "cat"),
    ],
)
def test_normalisation(raw: str, plain: str) -> None:
    assert normalised(raw) == plain


def test_only_the_first_32_periods_vanish() -> None:
    assert without_punctuation("." * 40) == "." * 8


def test_contractions_are_mended_one_apostrophe_at_a_time() -> None:
    assert CONTRACTIONS["y'alld've"] == CONTRACTIONS["yall'd've"] == "y'all'd've"
    assert "yalldve" not in CONTRACTIONS
    assert CONTRACTIONS["somebody'd"] == "somebodyd"
    assert len(CONTRACTIONS) == 114


def test_line_breaks_and_tabs_become_blanks() -> None:
    assert trimmed("\n a\tb\nc ") == "a b c"


def test_types_are_scored_apart_and_a_question_without_type_in_none() -> None:
    truth = [
        AnswerTruth(1, people(("yes", 10)), "yes/no", "is the"),
        AnswerTruth(2, people(("2", 9), ("3", 1)), "number", "how many"),
        AnswerTruth(3, people(("red", 10))),
    ]
    scores = vqa_accuracy(["yes", "three", "red"], truth)
    assert scores.accuracy == pytest.approx((1 + 0.3 + 1) / 3)
    assert scores.by_answer_type == pytest.approx({"number": 0.3, "yes/no": 1})
    assert scores.flat("vqa") == pytest.approx(
        {
            "vqa/accuracy": 2.3 / 3,
            "vqa/accuracy/number": 0.3,
            "vqa/accuracy/yes/no": 1,
            "vqa/accuracy/question/how many": 0.3,
            "vqa/accuracy/question/is the": 1,
        }
    )


def test_a_question_without_answers_is_refused() -> None:
    with pytest.raises(UserError, match="question 7 has no answer to compare with"):
        vqa_accuracy(["yes"], [AnswerTruth(7, ())])
