"""Sentences about a scene that mention each object once, with every phrase grounded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations
from random import Random

from glipv2.data.shapes.language import (
    RELATION_PHRASES,
    Description,
    Mention,
    a,
    describe,
    gap,
    naming_words,
    related,
    several,
    unique_description,
    write,
)
from glipv2.data.shapes.scene import BACKGROUNDS, Scene
from glipv2.structures import Caption

Occlusions = Sequence[tuple[int, int]]  # (front, back)

# "{be}" agrees with what follows.
LIST_OPENINGS = ("", "", "there {be} ", "the picture shows ", "this image contains ", "you can see ")
REST_OPENINGS = ("there {be} also ", "the picture also shows ", "you can also see ")
LINKS = (" ", " ", " {be} ")  # "a circle left of a star", "a circle is left of a star"
LINKING_WORDS = {**RELATION_PHRASES, "front": ("in front of",), "behind": ("behind",)}
GROUND = " on a {kind} background"
VERBS = ("is", "are")


def write_caption(scene: Scene, occlusions: Occlusions, random: Random) -> Caption:
    """One or two sentences: a list of the objects, or a relation between two of them and then the rest."""
    mentions = _mentions(scene, random)
    pair = _related_pair(scene, occlusions, mentions, random) if random.random() < 0.65 else None
    if pair is None:
        text = _listing(mentions, range(len(mentions)), LIST_OPENINGS, random)
        if random.random() < 0.3:
            text += GROUND.format(kind=scene.background.kind)
    else:
        first, second, relation = pair
        link = random.choice(LINKS).format(be=VERBS[mentions[first].is_plural])
        text = f"{{{first}}}{link}{relation} {{{second}}}"
        rest = [index for index in range(len(mentions)) if index not in (first, second)]
        if rest:
            text += ". " + _listing(mentions, rest, REST_OPENINGS, random)
    text, phrases = write(f"{text}.", mentions)
    return Caption(text, phrases)


def caption_words() -> tuple[str, ...]:
    """Every word and mark that a caption can contain."""
    texts = (*LIST_OPENINGS, *REST_OPENINGS, GROUND, *LINKING_WORDS["front"], *LINKING_WORDS["behind"], "and , .")
    plain = (re.sub(r"\{\w+\}", "", text) for text in texts)
    return (*naming_words(), *VERBS, *BACKGROUNDS, *(word for text in plain for word in text.split()))


def _mentions(scene: Scene, random: Random) -> list[Mention]:
    """The objects divided into singles and groups, in random order; each description is exact."""
    left = set(range(len(scene.objects)))
    mentions: list[Mention] = []

    def take(mention: Mention) -> None:
        mentions.append(mention)
        left.difference_update(mention.instances)

    if random.random() < 0.3:
        spec = random.choice(scene.objects)
        wide = describe(spec, random.choice(("shape", "color")))
        if len(wide.instances(scene)) > 1:
            take(several(wide, wide.instances(scene)))
    for index in range(len(scene.objects)):
        if index in left:
            for mention in _namesakes(scene, index, random):
                take(mention)
    random.shuffle(mentions)
    return mentions


def _namesakes(scene: Scene, index: int, random: Random) -> list[Mention]:
    """Mentions for all objects of the same colour and shape: one by one where words can tell them apart."""
    shared = describe(scene.objects[index], "color", "shape")
    group = shared.instances(scene)
    singles: list[tuple[Description, int]] = []
    for member in group:
        description = unique_description(scene, member, random)
        if description is not None:
            singles.append((description, member))
    if len(group) == 1 or (len(singles) == len(group) and random.random() < 0.5):
        return [a(description, (member,)) for description, member in singles]
    return [several(shared, group)]


def _listing(mentions: Sequence[Mention], chosen: Sequence[int], openings: Sequence[str], random: Random) -> str:
    """A template such as "there are {2}, {0} and {1}"."""
    slots = [f"{{{index}}}" for index in chosen]
    named = ", ".join(slots[:-1]) + " and " + slots[-1] if len(slots) > 1 else slots[0]
    return random.choice(openings).replace("{be}", VERBS[mentions[chosen[0]].is_plural]) + named


def _related_pair(
    scene: Scene, occlusions: Occlusions, mentions: Sequence[Mention], random: Random
) -> tuple[int, int, str] | None:
    """Two mentions and the words between them, or None when no two are clearly related.

    The relation is drawn before the two: overlaps are rare and would hardly be spoken of.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for first, second in permutations(range(len(mentions)), 2):
        for relation in _relations(scene, occlusions, mentions[first], mentions[second]):
            found.setdefault(relation, []).append((first, second))
    if not found:
        return None
    relation = random.choice(sorted(found))
    first, second = random.choice(found[relation])
    return first, second, random.choice(LINKING_WORDS[relation])


def _relations(scene: Scene, occlusions: Occlusions, subject: Mention, other: Mention) -> list[str]:
    """The relations that hold between each object of one mention and each of the other."""
    pairs = [(first, second) for first in subject.instances for second in other.instances]
    holding = [
        relation
        for relation in RELATION_PHRASES
        if all(related(scene, *pair, relation) and _mainly(scene, *pair, relation) for pair in pairs)
    ]
    if all(pair in occlusions for pair in pairs):
        holding.append("front")
    if all((second, first) in occlusions for first, second in pairs):
        holding.append("behind")
    return holding


def _mainly(scene: Scene, first: int, second: int, relation: str) -> bool:
    """Whether the relation's axis is the longer one: nobody calls steeply above "to the left"."""
    subject, other = scene.objects[first], scene.objects[second]
    across = "above" if relation in ("left", "right") else "left"
    return gap(subject, other, relation) >= abs(gap(subject, other, across))
