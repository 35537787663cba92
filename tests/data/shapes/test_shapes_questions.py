"""Questions: every answer found again by a slow reader that knows only the text and the scene."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from glipv2.data.shapes import ShapesDataset, answer_vocabulary
from glipv2.data.shapes.scene import Scene

KINDS = {"exist", "count", "color", "shape", "texture", "size", "compare", "relation"}
SIDES = "(?:to the )?(left) of|(?:to the )?(right) of|(above)|(below)"


def beyond(scene: Scene, first: int, second: int, side: str) -> float:
    """How far the first lies on that side of the second, in image sides."""
    (x, y), (other_x, other_y) = scene.objects[first].center, scene.objects[second].center
    return {"left": other_x - x, "right": x - other_x, "above": other_y - y, "below": y - other_y}[side]


def answer_relation(text: str, scene: Scene, read) -> str | None:
    found = re.fullmatch(rf"what (shape|color) is the object (?:{SIDES}) the (.+)\?", text)
    if found:
        (anchor,) = read(found[6], scene)
        side = next(word for word in found.groups()[1:5] if word)
        distances = {i: beyond(scene, i, anchor, side) for i in range(len(scene.objects)) if i != anchor}
        (there,) = [index for index, distance in distances.items() if distance > 0]
        assert distances[there] > 0.1, "too near to call"
        return getattr(scene.objects[there], found[1])
    found = re.fullmatch(rf"is the (.+?) (?:{SIDES}) the (.+)\?", text)
    if not found:
        return None
    (first,), (second,) = read(found[1], scene), read(found[6], scene)
    distance = beyond(scene, first, second, next(word for word in found.groups()[1:5] if word))
    assert abs(distance) > 0.1, "too near to call"
    return "yes" if distance > 0 else "no"


def answer_compare(text: str, scene: Scene, read) -> str | None:
    found = re.fullmatch(r"are there (more|fewer) (.+) than (.+)\?", text)
    if found:
        first, second = len(read(found[2], scene)), len(read(found[3], scene))
        return "yes" if (first > second if found[1] == "more" else first < second) else "no"
    found = re.fullmatch(r"is the (.+) (larger|smaller) than the (.+)\?", text)
    if not found:
        return None
    (first,), (second,) = read(found[1], scene), read(found[3], scene)
    diameters = scene.objects[first].diameter, scene.objects[second].diameter
    return "yes" if (diameters[0] > diameters[1]) == (found[2] == "larger") else "no"


def answer_attribute(text: str, scene: Scene, read) -> str | None:
    patterns = {
        "color": r"what color is the (.+)\?|what is the color of the (.+)\?",
        "shape": r"what shape is the (.+)\?|what is the shape of the (.+)\?",
        "texture": r"what texture does the (.+) have\?|is the (.+) plain, striped or dotted\?",
        "size": r"what size is the (.+)\?|is the (.+) small or large\?",
    }
    for attribute, pattern in patterns.items():
        found = re.fullmatch(pattern, text)
        if found:
            (index,) = read(found[1] or found[2], scene)
            return getattr(scene.objects[index], attribute)
    return None


def answer(text: str, scene: Scene, read) -> str:
    found = re.fullmatch(r"(?:is there|can you see) an? (.+)\?", text)
    if found:
        return "yes" if read(found[1], scene) else "no"
    found = re.fullmatch(r"how many (.+?) (?:are there|can you see)\?", text)
    if found:
        return str(len(read(found[1], scene)))
    for reader in (answer_relation, answer_compare, answer_attribute):
        answered = reader(text, scene, read)
        if answered is not None:
            return answered
    raise AssertionError(f"nobody taught this test the question '{text}'")


def test_every_answer_is_found_again_by_a_slow_reader(train, unseen, read):
    for shown in (*train, *unseen):
        for question in shown.sample.questions:
            assert question.answers == (answer(question.text, shown.scene, read),), question.text


def test_every_answer_is_in_the_answer_vocabulary(train, unseen):
    given = {question.answers[0] for shown in (*train, *unseen) for question in shown.sample.questions}
    assert given <= set(answer_vocabulary())
    assert len(set(answer_vocabulary())) == len(answer_vocabulary())


def test_phrases_of_questions_name_what_they_are_grounded_to(train, read):
    for shown in train:
        for question in shown.sample.questions:
            for phrase in question.phrases:
                ((begin, end),) = phrase.spans
                named = read(question.text[begin:end], shown.scene)
                if question.text[begin:end] == "object" and question.kind == "relation":
                    # "the object left of the star" is told by where it is, not by its own words.
                    assert len(phrase.instances) == 1
                    assert set(phrase.instances) < set(named)
                else:
                    assert named == phrase.instances


def test_things_that_are_there_are_grounded_and_absent_ones_are_phrases_of_nothing(train):
    for shown in train:
        for question in shown.sample.questions:
            absent = question.answers[0] in ("no", "0") and question.kind in ("exist", "count")
            assert question.phrases
            assert any(phrase.instances for phrase in question.phrases) != absent


@pytest.mark.parametrize("kind", ["exist", "compare", "relation"])
def test_yes_and_no_are_balanced_over_500_scenes(train, kind):
    answers = Counter(q.answers[0] for shown in train for q in shown.sample.questions if q.kind == kind)
    assert answers["yes"] + answers["no"] > 50
    assert 0.4 < answers["yes"] / (answers["yes"] + answers["no"]) < 0.6


@pytest.mark.parametrize("kind", ["color", "shape", "texture", "size"])
def test_no_attribute_is_asked_for_much_more_than_its_share(train, kind):
    answers = Counter(q.answers[0] for shown in train for q in shown.sample.questions if q.kind == kind)
    choices = {"color": 8, "shape": 7, "texture": 3, "size": 2}[kind]
    assert len(answers) == choices
    assert max(answers.values()) < 1.6 * sum(answers.values()) / choices


def test_counting_reaches_from_none_to_six(train):
    answers = Counter(q.answers[0] for shown in train for q in shown.sample.questions if q.kind == "count")
    assert set(answers) == {"0", "1", "2", "3", "4", "5", "6"}
    assert max(answers.values()) < 0.4 * sum(answers.values())


def test_all_kinds_are_asked_and_none_twice_in_a_scene(train):
    kinds = [[question.kind for question in shown.sample.questions] for shown in train]
    assert {kind for asked in kinds for kind in asked} == KINDS
    assert all(len(asked) == len(set(asked)) <= 3 for asked in kinds)
    assert sum(map(len, kinds)) > 2.9 * len(kinds)


def test_the_number_of_questions_can_be_chosen():
    assert [len(ShapesDataset("val", 1, questions_per_scene=count)[0].questions) for count in (0, 1)] == [0, 1]
