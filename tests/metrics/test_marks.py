"""Claims about how right one image's prediction is."""

from __future__ import annotations

import pytest
import torch

from glipv2.metrics.marks import mark
from glipv2.structures import Caption, Detections, GroundedPhrase, ImageTruth, Question, Vocabulary
from glipv2.structures.grounded import Answer, Answers, GroundedCaptions, GroundedText, ImageCaption

NAMES = Vocabulary(("cat", "dog"))
HERE, THERE = [0.0, 0, 10, 10], [20.0, 20, 30, 30]


def truth(boxes: list[list[float]], labels: list[int], **parts: object) -> ImageTruth:
    count = len(boxes)
    return ImageTruth(
        1, "a.jpg", (40, 40), torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64),
        torch.zeros(count, dtype=torch.bool), torch.ones(count), **parts,  # type: ignore[arg-type]
    )  # fmt: skip


def found(boxes: list[list[float]], labels: list[int]) -> Detections:
    scores = torch.linspace(0.9, 0.5, len(boxes))
    return Detections(
        torch.tensor(boxes).reshape(-1, 4), scores, torch.tensor(labels, dtype=torch.int64), (40, 40), NAMES
    )


def test_detections_are_marked_by_the_average_precision_of_the_image() -> None:
    objects = truth([HERE, THERE], [0, 1])
    assert mark(found([HERE, THERE], [0, 1]), objects).score == 1.0
    assert mark(found([HERE, THERE], [0, 0]), objects).score == 0.5
    assert mark(found([THERE, HERE], [0, 0]), objects).score == 0.25
    assert mark(found([HERE, HERE], [0, 0]), objects).score == 0.5
    assert mark(found([], []), objects).score == 0.0


def test_without_objects_every_sure_detection_is_wrong() -> None:
    assert mark(found([], []), truth([], [])).score == 1.0
    assert mark(found([HERE], [0]), truth([], [])).score == pytest.approx(0.1)


def text(words: str, boxes: list[list[float]], labels: list[int]) -> GroundedText:
    spans = tuple(((0, 1),) for _ in range(3))
    return GroundedText(words, spans, torch.tensor(boxes).reshape(-1, 4), torch.ones(len(boxes)), torch.tensor(labels))


def test_phrases_are_found_loosely_found_or_elsewhere() -> None:
    phrases = tuple(GroundedPhrase(((0, 1),), (0,)) for _ in range(3))
    objects = truth([HERE], [0], captions=(Caption("a b c", phrases),))
    said = GroundedCaptions((40, 40), (text("a b c", [HERE, [0.0, 0, 10, 4], THERE], [0, 1, 2]),))
    result = mark(said, objects)
    assert dict(result.tally) == {("found",): 1, ("loose",): 1, ("elsewhere",): 1}
    assert result.score == pytest.approx(1 / 3)


def test_answers_are_marked_by_their_accuracy_and_told_by_what_was_right() -> None:
    questions = (Question("how many?", ("two",), kind="count"), Question("what?", ("cup",), kind="object"))
    answers = tuple(Answer(text("q", [], []), (said,), (0.9,)) for said in ("two", "dog"))
    result = mark(Answers((40, 40), answers), truth([], [], questions=questions))
    assert result.score == 0.5
    assert dict(result.tally) == {("count", "two", "two"): 1, ("object", "cup", "dog"): 1}


def test_captions_are_marked_by_common_words_and_nothing_said_is_nothing_right() -> None:
    objects = truth([], [], captions=(Caption("a red circle"), Caption("")))
    assert mark(ImageCaption((40, 40), text("a red circle", [], []), 0.5), objects).score == pytest.approx(1.0)
    assert mark(ImageCaption((40, 40), text("", [], []), 0.5), objects).score == 0.0
    assert mark(ImageCaption((40, 40), text("a", [], []), 0.5), truth([], [])).score is None
