"""Questions about a scene with one answer each; the wanted answer is drawn before the question.

Drawing the answer first keeps yes and no, and the numbers, as balanced as the scene allows: a kind that
cannot give the wanted answer asks nothing at all rather than take the other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import permutations
from random import Random

from glipv2.data.shapes.language import (
    ANY_SHAPE,
    MARGIN,
    RELATION_PHRASES,
    Description,
    Mention,
    a,
    describe,
    gap,
    naming_words,
    the,
    write,
)
from glipv2.data.shapes.scene import COLORS, MAX_OBJECTS, SHAPES, SIZES, TEXTURES, Pair, Scene
from glipv2.structures import Question

YES, NO = "yes", "no"

EXIST = ("is there {0}?", "can you see {0}?")
COUNT = ("how many {0} are there?", "how many {0} can you see?")
ATTRIBUTE_TEMPLATES = {
    "color": ("what color is {0}?", "what is the color of {0}?"),
    "shape": ("what shape is {0}?", "what is the shape of {0}?"),
    "texture": ("what texture does {0} have?", "is {0} plain, striped or dotted?"),
    "size": ("what size is {0}?", "is {0} small or large?"),
}
MORE, FEWER = "are there more {0} than {1}?", "are there fewer {0} than {1}?"
LARGER, SMALLER = "is {0} larger than {1}?", "is {0} smaller than {1}?"
IS_RELATED = "is {0} RELATION {1}?"
WHAT_SHAPE, WHAT_COLOR = "what shape is the {0} RELATION {1}?", "what color is the {0} RELATION {1}?"

# The descriptions that may stand for an object when one of its attributes is asked for.
FORMS = {
    "color": (("shape",), ("size", "shape"), ("texture", "shape")),
    "shape": (("color",), ("size", "color"), ("texture", "color")),
    "texture": (("shape",), ("color", "shape"), ("color",)),
    "size": (("shape",), ("color", "shape"), ("color",)),
    "relation": (("color", "shape"), ("color", "shape"), ("shape",), ("color",)),
}
EXIST_FORMS = (("color", "shape"), ("color", "shape"), ("shape",), ("color",), ("size", "shape"), ("texture", "shape"))
VALUES = {"color": COLORS, "shape": SHAPES, "size": SIZES, "texture": TEXTURES}

Unique = tuple[int, Description]  # an object and a description that fits it alone


def ask(scene: Scene, pairs: Sequence[Pair], count: int, random: Random) -> tuple[Question, ...]:
    """Up to `count` questions of different kinds; fewer when the scene gives no more.

    Only (colour, shape) pairs among `pairs` are spoken of: otherwise "is there a red square?", never
    true in training, would teach that there are none.
    """
    kinds = list(ASKERS)
    random.shuffle(kinds)
    questions: list[Question] = []
    for kind in kinds:
        if len(questions) == count:
            break
        drawn = ASKERS[kind](scene, pairs, random)
        if drawn is not None:
            questions.append(drawn)
    return tuple(questions)


def answer_vocabulary() -> tuple[str, ...]:
    """Every answer there can be, in a fixed order."""
    numbers = tuple(str(number) for number in range(MAX_OBJECTS + 1))
    return (YES, NO, *numbers, *COLORS, *SHAPES, *TEXTURES, *SIZES)


def question_words() -> tuple[str, ...]:
    """Every word and mark that a question or an answer can contain."""
    asked = [text for texts in ATTRIBUTE_TEMPLATES.values() for text in texts]
    templates = (*EXIST, *COUNT, *asked, MORE, FEWER, LARGER, SMALLER, IS_RELATED, WHAT_SHAPE, WHAT_COLOR)
    found = [word for text in templates for word in re.findall(r"[a-z]+|[?,]", text)]
    return (*naming_words(), *answer_vocabulary(), *found)


def _question(kind: str, template: str, answer: str, *mentions: Mention) -> Question:
    text, phrases = write(template, mentions)
    return Question(text, (answer,), phrases, kind)


def _exist(scene: Scene, pairs: Sequence[Pair], random: Random) -> Question | None:
    form = random.choice(EXIST_FORMS)
    if random.random() < 0.5:
        description = describe(random.choice(scene.objects), *form)
        return _question("exist", random.choice(EXIST), YES, a(description, description.instances(scene)))
    absent = _absent(scene, pairs, form, random)
    if absent is None:
        return None
    return _question("exist", random.choice(EXIST), NO, a(absent, ()))


def _absent(scene: Scene, pairs: Sequence[Pair], form: Sequence[str], random: Random) -> Description | None:
    """A description of nothing in the scene; at first mixed from what is there, the harder case."""
    for trial in range(40):
        values = {}
        for attribute in form:
            present = trial < 3 or random.random() < 0.5
            pool = [getattr(spec, attribute) for spec in scene.objects] if present else VALUES[attribute]
            values[attribute] = random.choice(pool)
        description = Description(**values)
        if (description.pair is None or description.pair in pairs) and not description.instances(scene):
            return description
    return None


def _count(scene: Scene, pairs: Sequence[Pair], random: Random) -> Question | None:
    descriptions = [Description(shape=shape) for shape in SHAPES]
    descriptions += [Description(color=color) for color in COLORS]
    descriptions += [describe(spec, "color", "shape") for spec in scene.objects]
    descriptions += [Description(), Description(*random.choice(pairs))]
    by_count: dict[int, list[Description]] = {}
    for description in descriptions:
        by_count.setdefault(len(description.instances(scene)), []).append(description)
    count = random.choice(sorted(by_count))
    chosen = random.choice(by_count[count])
    mention = Mention(chosen.plural, chosen.instances(scene))
    return _question("count", random.choice(COUNT), str(count), mention)


def _attribute(attribute: str) -> Callable[[Scene, Sequence[Pair], Random], Question | None]:
    """The asker of one attribute of an object that other words pick out."""

    def ask_attribute(scene: Scene, pairs: Sequence[Pair], random: Random) -> Question | None:
        found = _unique(scene, attribute)
        if not found:
            return None
        answers = sorted({getattr(scene.objects[index], attribute) for index, _ in found})
        answer = random.choice(answers)
        index, description = random.choice(
            [one for one in found if getattr(scene.objects[one[0]], attribute) == answer]
        )
        template = random.choice(ATTRIBUTE_TEMPLATES[attribute])
        return _question(attribute, template, answer, the(description, (index,)))

    return ask_attribute


def _unique(scene: Scene, kind: str) -> list[Unique]:
    """Every object with each of the kind's descriptions that fits it alone."""
    found = []
    for form in FORMS[kind]:
        for index, spec in enumerate(scene.objects):
            description = describe(spec, *form)
            if description.instances(scene) == (index,):
                found.append((index, description))
    return found


def _compare(scene: Scene, pairs: Sequence[Pair], random: Random) -> Question | None:
    if random.random() < 0.5:
        return _compare_sizes(scene, random)
    return _compare_counts(scene, random)


def _compare_counts(scene: Scene, random: Random) -> Question | None:
    """More or fewer of one shape (or colour) than of another; at least one of them is there."""
    attribute = random.choice(("shape", "color"))
    wanted, template = random.choice((YES, NO)), random.choice((MORE, FEWER))
    counts = Counter(getattr(spec, attribute) for spec in scene.objects)
    choices = []
    for first, second in permutations(VALUES[attribute], 2):
        holds = counts[first] > counts[second] if template == MORE else counts[first] < counts[second]
        if (counts[first] or counts[second]) and holds == (wanted == YES):
            # Comparing with nothing is only a question of existence: ask it less often.
            choices += [(first, second)] * (6 if counts[first] and counts[second] else 1)
    if not choices:
        return None
    sides = [Description(**{attribute: value}) for value in random.choice(choices)]
    mentions = [Mention(side.plural, side.instances(scene)) for side in sides]
    return _question("compare", template, wanted, *mentions)


def _compare_sizes(scene: Scene, random: Random) -> Question | None:
    """Larger or smaller, between a small and a large object; within a class it would be guesswork."""
    found = _unique(scene, "size")
    small = [one for one in found if scene.objects[one[0]].size == "small"]
    large = [one for one in found if scene.objects[one[0]].size == "large"]
    if not small or not large:
        return None
    wanted, template = random.choice((YES, NO)), random.choice((LARGER, SMALLER))
    sides = [random.choice(large), random.choice(small)]
    if (template == LARGER) != (wanted == YES):
        sides.reverse()
    return _question("compare", template, wanted, *(the(description, (index,)) for index, description in sides))


def _relation(scene: Scene, pairs: Sequence[Pair], random: Random) -> Question | None:
    """About the first relation, in random order, that allows the form of question drawn before."""
    found = _unique(scene, "relation")
    random.shuffle(found)
    is_open, wanted = random.random() < 0.5, random.choice((YES, NO))
    for relation in random.sample(tuple(RELATION_PHRASES), len(RELATION_PHRASES)):
        words = random.choice(RELATION_PHRASES[relation])
        if is_open:
            question = _what_is_related(scene, found, relation, words, random)
        else:
            question = _is_related(scene, found, relation, words, wanted)
        if question is not None:
            return question
    return None


def _is_related(scene: Scene, found: Sequence[Unique], relation: str, words: str, wanted: str) -> Question | None:
    """Yes when it clearly holds, no when the opposite clearly does; nothing in between is asked."""
    for (first, subject), (second, other) in permutations(found, 2):
        distance = gap(scene.objects[first], scene.objects[second], relation)
        if (distance if wanted == YES else -distance) >= MARGIN:
            template = IS_RELATED.replace("RELATION", words)
            return _question("relation", template, wanted, the(subject, (first,)), the(other, (second,)))
    return None


def _what_is_related(
    scene: Scene, found: Sequence[Unique], relation: str, words: str, random: Random
) -> Question | None:
    """The shape or colour of the only object that lies there, when all others clearly do not."""
    attribute, template = random.choice((("shape", WHAT_SHAPE), ("color", WHAT_COLOR)))
    for anchor, description in found:
        others = [index for index in range(len(scene.objects)) if index != anchor]
        gaps = [gap(scene.objects[index], scene.objects[anchor], relation) for index in others]
        there = [index for index, distance in zip(others, gaps, strict=True) if distance >= MARGIN]
        if len(there) == 1 and all(distance >= MARGIN or distance <= -MARGIN / 2 for distance in gaps):
            answer = getattr(scene.objects[there[0]], attribute)
            mentions = Mention(ANY_SHAPE, (there[0],)), the(description, (anchor,))
            return _question("relation", template.replace("RELATION", words), answer, *mentions)
    return None


ASKERS: dict[str, Callable[[Scene, Sequence[Pair], Random], Question | None]] = {
    "exist": _exist,
    "count": _count,
    "color": _attribute("color"),
    "shape": _attribute("shape"),
    "texture": _attribute("texture"),
    "size": _attribute("size"),
    "compare": _compare,
    "relation": _relation,
}
