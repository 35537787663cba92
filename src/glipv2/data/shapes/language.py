"""How objects are named and related in words; spans are counted while the text is written.

Texts are lower case. A description is exact: it names all objects of the scene that fit it and no other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from glipv2.data.shapes.scene import COLORS, SHAPES, SIZES, TEXTURES, ObjectSpec, Pair, Scene
from glipv2.structures import GroundedPhrase

COUNT_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
ARTICLES = ("a", "an", "the")
ANY_SHAPE = "object"

# "left" holds between A and B when A lies to the left of B.
RELATION_PHRASES = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "above": ("above",),
    "below": ("below",),
}
OPPOSITES = {"left": "right", "right": "left", "above": "below", "below": "above"}
MARGIN = 0.12  # centres nearer than this share of the side along an axis stand in no relation along it

_SLOT = re.compile(r"\{(\d)\}")


@dataclass(frozen=True)
class Description:
    """Attributes that together pick objects out of a scene; None says nothing about one."""

    color: str | None = None
    shape: str | None = None
    size: str | None = None
    texture: str | None = None

    def fits(self, spec: ObjectSpec) -> bool:
        """Whether the object has every attribute named here."""
        return (
            self.color in (None, spec.color)
            and self.shape in (None, spec.shape)
            and self.size in (None, spec.size)
            and self.texture in (None, spec.texture)
        )

    def instances(self, scene: Scene) -> tuple[int, ...]:
        """Indices of all objects that fit."""
        return tuple(index for index, spec in enumerate(scene.objects) if self.fits(spec))

    @property
    def pair(self) -> Pair | None:
        """The (colour, shape) pair where both are named: some splits never speak of some pairs."""
        return None if self.color is None or self.shape is None else (self.color, self.shape)

    @property
    def singular(self) -> str:
        """As one: "small striped red circle", without an article."""
        words = (self.size, self.texture, self.color, self.shape or ANY_SHAPE)
        return " ".join(word for word in words if word)

    @property
    def plural(self) -> str:
        """As many: "small striped red circles"."""
        return plural(self.singular)


def plural(name: str) -> str:
    """The name of several: "cross" gives "crosses"."""
    return f"{name}es" if name.endswith("s") else f"{name}s"


def describe(spec: ObjectSpec, *attributes: str) -> Description:
    """The description of an object by the attributes asked for: "color", "shape", "size", "texture"."""
    return Description(**{attribute: getattr(spec, attribute) for attribute in attributes})


@dataclass(frozen=True)
class Mention:
    """Words that stand for objects: `phrase` is grounded to `instances`, the `article` before it is not."""

    phrase: str
    instances: tuple[int, ...]
    article: str = ""

    @property
    def is_plural(self) -> bool:
        """Whether the verb must agree with several."""
        return len(self.instances) > 1


def a(description: Description, instances: tuple[int, ...]) -> Mention:
    """One not yet spoken of: "an orange star"."""
    phrase = description.singular
    return Mention(phrase, instances, "an " if phrase[0] in "aeiou" else "a ")


def the(description: Description, instances: tuple[int, ...]) -> Mention:
    """One that is known to be there: "the orange star"."""
    return Mention(description.singular, instances, "the ")


def several(description: Description, instances: tuple[int, ...]) -> Mention:
    """Several at once: "two orange stars"; the number belongs to the phrase."""
    return Mention(f"{COUNT_WORDS[len(instances)]} {description.plural}", instances)


def write(template: str, mentions: Sequence[Mention]) -> tuple[str, tuple[GroundedPhrase, ...]]:
    """The template with its slots {0}, {1}, … filled, and the phrases in the order of the text.

    A mention of no instance (something asked for that is not there) is a phrase without instances.
    """
    text = ""
    phrases = []
    for position, piece in enumerate(_SLOT.split(template)):
        if position % 2 == 0:  # the split alternates text and slot numbers
            text += piece
            continue
        mention = mentions[int(piece)]
        text += mention.article
        begin = len(text)
        text += mention.phrase
        phrases.append(GroundedPhrase(((begin, len(text)),), mention.instances))
    return text, tuple(phrases)


def unique_description(scene: Scene, index: int, random: Random) -> Description | None:
    """A description that fits this object alone, mostly colour and shape; None when there is none."""
    forms = [("color", "shape"), ("size", "color", "shape"), ("texture", "color", "shape")]
    dice = random.random()
    if dice < 0.12:
        forms.insert(0, ("shape",))
    elif dice < 0.4:
        forms.append(forms.pop(0))
        if dice < 0.26:
            forms.reverse()
    forms.append(("size", "texture", "color", "shape"))
    for form in forms:
        description = describe(scene.objects[index], *form)
        if description.instances(scene) == (index,):
            return description
    return None


def gap(first: ObjectSpec, second: ObjectSpec, relation: str) -> float:
    """How far `first` lies beyond `second` in the relation's direction; negative when on the other side."""
    axis = 0 if relation in ("left", "right") else 1
    difference = second.center[axis] - first.center[axis]
    return difference if relation in ("left", "above") else -difference


def related(scene: Scene, first: int, second: int, relation: str) -> bool:
    """Whether the relation clearly holds between two objects' centres."""
    return gap(scene.objects[first], scene.objects[second], relation) >= MARGIN


def naming_words() -> tuple[str, ...]:
    """Every word that a mention or a relation can contain."""
    shapes = (*SHAPES, ANY_SHAPE)
    phrases = [phrase for choices in RELATION_PHRASES.values() for phrase in choices]
    names = (*COLORS, *shapes, *(plural(shape) for shape in shapes), *SIZES, *TEXTURES, *COUNT_WORDS.values())
    return tuple(word for text in (*ARTICLES, *names, *phrases) for word in text.split())
