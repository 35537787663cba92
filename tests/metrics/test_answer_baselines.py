"""Claims about what an accuracy is compared with."""

from __future__ import annotations

import pytest

from glipv2.errors import UserError
from glipv2.metrics.answer_baselines import AnswerBaselines
from glipv2.structures.truth import AnswerTruth

QUESTIONS = [
    AnswerTruth(0, ("yes",), question_type="exist"),
    AnswerTruth(1, ("no",), question_type="exist"),
    AnswerTruth(2, ("yes",), question_type="compare"),
    AnswerTruth(3, ("red",), question_type="color"),
    AnswerTruth(4, ("red",), question_type="color"),
    AnswerTruth(5, ("yes",), question_type="exist"),
]


def test_the_commonest_answer_scores_its_share() -> None:
    metric = AnswerBaselines()
    metric.update(QUESTIONS[:4], [True, True, False, True])
    metric.update(QUESTIONS[4:], [True, False])
    scores = metric.compute().flat("vqa")
    assert scores["vqa/accuracy_majority"] == pytest.approx(3 / 6)  # "yes"
    assert scores["vqa/accuracy_majority_by_kind"] == pytest.approx(5 / 6)  # "yes", "yes", "red"
    assert scores["vqa/unknown_answers"] == 2


def test_answers_of_ten_people_count_as_the_metric_counts_them() -> None:
    metric = AnswerBaselines()
    metric.update([AnswerTruth(0, ("2",) * 8 + ("3", "4")), AnswerTruth(1, ("3",) * 2 + ("2",) * 8)], [True, True])
    assert metric.compute().majority == 1
    metric.update([AnswerTruth(2, ("3",) * 8 + ("2",) * 2)], [True])
    assert metric.compute().majority == pytest.approx(2.6 / 3)


def test_a_question_seen_twice_counts_once() -> None:
    metric = AnswerBaselines()
    metric.update([*QUESTIONS, QUESTIONS[3], QUESTIONS[3], QUESTIONS[3]], [False] * 9)
    assert metric.compute().majority == pytest.approx(3 / 6)
    assert metric.compute().unknown == 6


def test_without_questions_nothing_is_defined() -> None:
    scores = AnswerBaselines().compute()
    assert (scores.majority, scores.majority_by_kind, scores.unknown) == (-1, -1, 0)


def test_marks_must_be_as_many_as_questions() -> None:
    with pytest.raises(UserError, match="expected as many marks as questions, but got 1 for 6"):
        AnswerBaselines().update(QUESTIONS, [True])


def test_neither_the_order_nor_ranks_change_a_number() -> None:
    def baselines(questions: list[AnswerTruth]) -> AnswerBaselines:
        metric = AnswerBaselines()
        for question in questions:
            metric.update([question], [question.answers != ("red",)])
        return metric

    tie = [*QUESTIONS, AnswerTruth(6, ("red",), question_type="exist")]  # three "yes", three "red"
    whole = baselines(tie).compute()
    assert baselines(tie[::-1]).compute() == whole
    joined = baselines(tie[1::2])
    joined.merge_state(baselines(tie[::2]))
    assert joined.compute() == whole
    assert (whole.unknown, whole.questions) == (3, 7)
