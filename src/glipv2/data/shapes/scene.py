"""What is in a procedural scene, before any pixel: coloured shapes, where they lie, and on what background.

Lengths are fractions of the image's side, so that one description serves every image size. x grows to
the right and y downwards; angles are radians.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from glipv2.errors import UserError, nearest

Pair = tuple[str, str]  # (colour, shape)

COLORS = ("red", "green", "blue", "yellow", "purple", "orange", "pink", "cyan")
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "dotted")
BACKGROUNDS = ("plain", "gradient", "cloudy", "checkered", "striped")
SPLITS = ("train", "val", "unseen")
MAX_OBJECTS = 6

# A diagonal through the table: every colour once, every shape once (square twice), so that nothing
# but the combination itself is new in the unseen split.
HELD_OUT_PAIRS: tuple[Pair, ...] = (
    ("red", "square"),
    ("green", "ring"),
    ("blue", "circle"),
    ("yellow", "star"),
    ("purple", "heart"),
    ("orange", "triangle"),
    ("pink", "cross"),
    ("cyan", "square"),
)
# Another diagonal, of pairs that training may be made to meet seldom (`Cast.rare_share`).
RARE_PAIRS: tuple[Pair, ...] = (
    ("red", "circle"),
    ("green", "square"),
    ("blue", "triangle"),
    ("yellow", "ring"),
    ("purple", "star"),
    ("orange", "cross"),
    ("pink", "heart"),
    ("cyan", "circle"),
)

DIAMETERS = {"small": (0.15, 0.22), "large": (0.28, 0.42)}
REACH = 1.2  # no shape's outline goes further from its centre than this many radii
# How far each shape may turn either way and keep its name: a square on its corner would be a diamond.
TURNS = {
    "circle": 0.0,
    "square": 0.4,
    "triangle": math.pi,
    "star": math.pi / 5,
    "ring": 0.0,
    "cross": 0.4,
    "heart": 0.7,
    "hexagon": math.pi / 6,
    "diamond": 0.25,
    "moon": 0.8,
    "arrow": 0.8,
}
CLOSENESS = 0.56  # centres keep at least this share of the sum of the radii apart
PLACEMENTS = 24  # positions tried for one object before it is made small or left out


@dataclass(frozen=True)
class World:
    """What there is to draw. held_out: pairs that only the unseen split has; rare: see `RARE_PAIRS`."""

    colors: tuple[str, ...]
    shapes: tuple[str, ...]
    textures: tuple[str, ...]
    held_out: tuple[Pair, ...] = ()
    rare: tuple[Pair, ...] = ()

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """All of them, by colour."""
        return tuple((color, shape) for color in self.colors for shape in self.shapes)

    @cached_property
    def seen(self) -> tuple[Pair, ...]:
        """Those of training."""
        return tuple(pair for pair in self.pairs if pair not in self.held_out)


WORLDS = {
    "shapes": World(COLORS, SHAPES, TEXTURES, HELD_OUT_PAIRS, RARE_PAIRS),
    # Half of the colours and all shapes and textures are new, and so are their words: somewhere to transfer to.
    "signs": World(
        ("red", "green", "blue", "white", "black", "brown"),
        ("hexagon", "diamond", "moon", "arrow"),
        ("checked", "shaded"),
    ),
}
SHAPES_WORLD = WORLDS["shapes"]
ALL_PAIRS, SEEN_PAIRS = SHAPES_WORLD.pairs, SHAPES_WORLD.seen


@dataclass(frozen=True)
class Cast:
    """Which objects training scenes are made of. rare_share: how often a rare pair that is drawn stays."""

    world: World = SHAPES_WORLD
    rare_share: float = 1.0

    def draw(self, random: Random, pool: Sequence[Pair]) -> Pair:
        """One of a pool of pairs."""
        while True:
            pair = random.choice(pool)
            if self.rare_share == 1 or pair not in self.world.rare or random.random() < self.rare_share:
                return pair


@dataclass(frozen=True)
class ObjectSpec:
    """One object: its describable attributes, then its geometry (fractions of the side) and its light."""

    color: str
    shape: str
    size: str
    texture: str
    center: tuple[float, float]
    diameter: float
    rotation: float
    texture_angle: float
    brightness: float

    @property
    def name(self) -> str:
        """The category name, "red circle"."""
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class BackgroundSpec:
    """A muted pattern between two tones (RGB in [0, 1]); `period` is a fraction of the side."""

    kind: str
    first: tuple[float, float, float]
    second: tuple[float, float, float]
    angle: float
    period: float
    phase: float


@dataclass(frozen=True)
class Scene:
    """Objects from back to front on a background, under a common light.

    `noise` is the half-width of the pixel noise in grey levels of 255; `noise_seed` decides its values.
    """

    objects: tuple[ObjectSpec, ...]
    background: BackgroundSpec
    brightness: float
    noise: float
    noise_seed: int


def category_name(pair: Pair) -> str:
    """("red", "circle") as "red circle"."""
    return " ".join(pair)


def check_split(split: str) -> str:
    """The split itself; UserError with the nearest choice when there is no such split."""
    if split not in SPLITS:
        raise UserError(f"expected a split of the shapes data, but got '{split}'; {nearest(split, SPLITS)}")
    return split


EVERYTHING = Cast()


def split_pairs(split: str, world: World = SHAPES_WORLD) -> tuple[Pair, ...]:
    """The (colour, shape) pairs that may occur in a split, in pictures and in words."""
    return world.pairs if split == "unseen" else world.seen


def random_source(seed: int, split: str, number: int, stream: str) -> Random:
    """A generator of its own for each (seed, split, scene number, stream), the same in every process.

    Separate streams keep the pictures as they are when the wording of the texts changes.
    """
    digest = hashlib.blake2b(f"{seed}/{split}/{number}/{stream}".encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest, "little"))


def sample_scene(
    random: Random, split: str, max_objects: int, cast: Cast = EVERYTHING, first: Pair | None = None
) -> Scene:
    """A scene of 1 to `max_objects` objects, one of them of `first`; in the unseen split at least one is held out.

    Objects overlap moderately by their distances alone; whether enough of each stays visible is
    known only from its pixels, and is checked there.
    """
    pairs = _draw_pairs(random, split, random.randint(1, max_objects), cast, first)
    placed: list[ObjectSpec] = []
    for pair in pairs:
        candidate = _place(random, _draw_object(random, pair, cast.world), placed)
        if candidate is not None:
            placed.append(candidate)
    random.shuffle(placed)  # the first placed is never dropped and must not always be the hindmost
    return Scene(
        objects=tuple(placed),
        background=_draw_background(random),
        brightness=random.uniform(0.82, 1.08),
        noise=random.uniform(3.0, 14.0),
        noise_seed=random.getrandbits(63),
    )


def _draw_pairs(random: Random, split: str, count: int, cast: Cast, first: Pair | None) -> list[Pair]:
    """Pairs of the split, half of the later ones sharing something with an earlier one.

    Independent draws would hardly ever give groups to count or look-alikes to tell apart.
    """
    world = cast.world
    pool = split_pairs(split, world)
    pairs = [first or cast.draw(random, world.held_out if split == "unseen" else world.seen)]
    while len(pairs) < count:
        color, shape = random.choice(pairs)
        dice = random.random()
        if dice < 0.2:
            pairs.append((color, shape))
        elif dice < 0.35:
            pairs.append(cast.draw(random, [pair for pair in pool if pair[1] == shape]))
        elif dice < 0.5:
            pairs.append(cast.draw(random, [pair for pair in pool if pair[0] == color]))
        elif split == "unseen" and dice < 0.75:
            pairs.append(random.choice(world.held_out))
        else:
            pairs.append(cast.draw(random, world.seen))
    return pairs


def _draw_object(random: Random, pair: Pair, world: World) -> ObjectSpec:
    color, shape = pair
    size = random.choice(SIZES)
    return ObjectSpec(
        color=color,
        shape=shape,
        size=size,
        texture=random.choice(world.textures),
        center=(0.5, 0.5),
        diameter=random.uniform(*DIAMETERS[size]),
        rotation=random.uniform(-TURNS[shape], TURNS[shape]),
        texture_angle=random.uniform(0.0, math.pi),
        brightness=random.uniform(0.88, 1.06),
    )


def _place(random: Random, candidate: ObjectSpec, placed: list[ObjectSpec]) -> ObjectSpec | None:
    """The object at a free position, made small when large finds none, or None when small finds none."""
    for _ in range(PLACEMENTS):
        margin = candidate.diameter / 2 * REACH
        center = (random.uniform(margin, 1 - margin), random.uniform(margin, 1 - margin))
        if all(_far_enough(center, candidate.diameter, other) for other in placed):
            return replace(candidate, center=center)
    if candidate.size == "small":
        return None
    return _place(random, replace(candidate, size="small", diameter=random.uniform(*DIAMETERS["small"])), placed)


def _far_enough(center: tuple[float, float], diameter: float, other: ObjectSpec) -> bool:
    distance = math.hypot(center[0] - other.center[0], center[1] - other.center[1])
    return distance >= CLOSENESS * (diameter + other.diameter) / 2


def _draw_background(random: Random) -> BackgroundSpec:
    grey = random.uniform(0.25, 0.78)
    step = random.uniform(0.08, 0.22) * random.choice((-1, 1))
    return BackgroundSpec(
        kind=random.choice(BACKGROUNDS),
        first=_muted(random, grey),
        second=_muted(random, min(max(grey + step, 0.15), 0.85)),
        angle=random.uniform(0.0, 2 * math.pi),
        period=random.uniform(0.12, 0.3),
        phase=random.uniform(0.0, 2 * math.pi),
    )


def _muted(random: Random, grey: float) -> tuple[float, float, float]:
    """A grey with a slight tint: far less saturated than any object."""
    red, green, blue = (grey * random.uniform(0.9, 1.08) for _ in range(3))
    return red, green, blue
