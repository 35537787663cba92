"""Pixels and masks of a scene: antialiased from signed distances, each object on its own patch.

Arrays are float32 or bool in pixels of a square image of side S; rows come before columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glipv2.data.shapes.scene import REACH, BackgroundSpec, ObjectSpec, Scene

Floats = NDArray[np.floating[Any]]  # float32 when run; numpy's stubs call float32 times a Python float float64
Bools = NDArray[np.bool_]

PALETTE = {
    "red": (222, 36, 38),
    "green": (46, 168, 58),
    "blue": (38, 84, 226),
    "yellow": (248, 220, 40),
    "purple": (132, 48, 178),
    "orange": (246, 130, 22),
    "pink": (250, 138, 196),
    "cyan": (52, 210, 222),
    "white": (250, 250, 250),
    "black": (18, 18, 20),
    "brown": (122, 74, 36),
}
RIM_DEPTH = 0.4  # a darker rim keeps overlapping objects of one colour apart
TEXTURE_DEPTH = 0.45  # the dark half of a texture keeps 55 % of the light: darker, but still its colour
CLOUD_CELLS = 6
HIDDEN_SHARE = 0.08  # less than this share of an object hidden by another is no "in front of"


@dataclass(frozen=True)
class Stamp:
    """One object on its window of the image: coverage float [h, w] in [0, 1] and tone float [h, w].

    `tone` multiplies the object's colour; `mask` is the coverage of at least one half.
    """

    rows: slice
    columns: slice
    coverage: Floats
    mask: Bools
    tone: Floats


@dataclass(frozen=True)
class Layout:
    """What can be seen of each object: masks bool [N, S, S] without hidden pixels.

    visible and total int64 [N]: pixels seen, and pixels there would be with nothing in front.
    """

    masks: Bools
    visible: NDArray[np.int64]
    total: NDArray[np.int64]

    @property
    def smallest_share(self) -> float:
        """The least visible share of any object."""
        return float((self.visible / np.maximum(self.total, 1)).min())


# Signed distances in radii, negative inside; u to the right, v downwards, in the object's own frame.


def _circle(u: Floats, v: Floats) -> Floats:
    return np.sqrt(u * u + v * v) - 1.0


def _ring(u: Floats, v: Floats) -> Floats:
    return np.abs(np.sqrt(u * u + v * v) - 0.76) - 0.25


def _square(u: Floats, v: Floats) -> Floats:
    return np.maximum(np.abs(u), np.abs(v)) - 0.83


def _cross(u: Floats, v: Floats) -> Floats:
    across, along = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(across - 1.0, along - 0.33), np.maximum(across - 0.33, along - 1.0))


def _triangle(u: Floats, v: Floats) -> Floats:
    return np.maximum(v, np.abs(u) * 0.8660254 - v * 0.5) - 0.58


def _star(u: Floats, v: Floats) -> Floats:
    """Five mirror images folded onto one edge, then the distance to that edge's line."""
    x, y = np.abs(u), -v
    for normal_x, normal_y in ((0.80901699, -0.58778525), (-0.80901699, -0.58778525)):
        beyond = 2.0 * np.maximum(x * normal_x + y * normal_y, 0.0)
        x, y = x - beyond * normal_x, y - beyond * normal_y
    x = np.abs(x)
    tip, notch = 1.18, (0.5 * 0.58778525, 0.5 * 0.80901699)  # the inner corner, 36 degrees from the tip
    edge_x, edge_y = notch[0], notch[1] - tip
    return (x * -edge_y + (y - tip) * edge_x) * (1.0 / math.hypot(edge_x, edge_y))


def _heart(u: Floats, v: Floats) -> Floats:
    """A square on its corner with a half circle on each of its two upper edges."""
    side = np.abs(u)
    lobe = np.sqrt((side - 0.42) ** 2 + (v + 0.42) ** 2)
    return np.minimum(lobe, (side + np.abs(v)) * 0.70710678) - 0.59396970


def _hexagon(u: Floats, v: Floats) -> Floats:
    across, along = np.abs(u), np.abs(v)
    return np.maximum(along, across * 0.8660254 + along * 0.5) - 0.85


def _diamond(u: Floats, v: Floats) -> Floats:
    return (np.abs(u) * 1.0 + np.abs(v) * 0.62 - 0.62) * 0.85


def _moon(u: Floats, v: Floats) -> Floats:
    """A disc without another, smaller one to its right."""
    bite = np.sqrt((u - 0.5) ** 2 + v * v) - 0.72
    return np.maximum(np.sqrt(u * u + v * v) - 1.0, -bite)


def _arrow(u: Floats, v: Floats) -> Floats:
    """A shaft from below and a head that points up."""
    shaft = np.maximum(np.abs(u) - 0.24, np.maximum(-v - 0.2, v - 0.95))
    head = np.maximum(v + 0.05, (np.abs(u) - v * 0.9 - 0.88) * 0.743)
    both: Floats = np.minimum(shaft, head)
    return both


DISTANCES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "heart": _heart,
    "hexagon": _hexagon,
    "diamond": _diamond,
    "moon": _moon,
    "arrow": _arrow,
}


def stamp_object(spec: ObjectSpec, side: int) -> Stamp:
    """The object drawn alone on the window of a `side`-pixel image that can hold it."""
    radius = spec.diameter * side / 2
    middle = (spec.center[0] * side, spec.center[1] * side)
    columns, x = _window(middle[0], radius, side)
    rows, y = _window(middle[1], radius, side)
    u, v = _turned(x, y, spec.rotation)
    distance = DISTANCES[spec.shape](u, v) * radius
    coverage = np.clip(0.5 - distance, 0.0, 1.0)
    rim = np.clip(distance + max(1.5, 0.07 * radius), 0.0, 1.0)
    tone = _tone(spec, x, y) * (1.0 - RIM_DEPTH * rim)
    return Stamp(rows, columns, coverage, distance <= 0.0, tone)


def _window(center: float, radius: float, side: int) -> tuple[slice, Floats]:
    """The pixels an object may touch along one axis, and their centres in radii from the object's."""
    reach = radius * REACH + 1
    begin, end = max(0, math.floor(center - reach)), min(side, math.ceil(center + reach))
    positions = np.arange(begin, end, dtype=np.float32)
    return slice(begin, end), (positions + np.float32(0.5 - center)) * np.float32(1 / radius)


def _turned(x: Floats, y: Floats, angle: float) -> tuple[Floats, Floats]:
    """Grids [h, w] of both coordinates in a frame turned by `angle`, from the two axes."""
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * cos + (y * sin)[:, None], (y * cos)[:, None] - x * sin


def _tone(spec: ObjectSpec, x: Floats, y: Floats) -> Floats:
    """Brightness [h, w] of the surface: light from the upper left, times its texture."""
    light: Floats = (1.0 - 0.07 * x) - (0.07 * y)[:, None]
    if spec.texture == "plain":
        return light
    u, v = _turned(x, y, spec.texture_angle)
    if spec.texture == "shaded":
        dark = np.clip(0.5 + 0.7 * u, 0.0, 1.0)
    elif spec.texture == "checked":
        dark = np.clip(0.5 + 6.0 * np.sin(u * 8.0) * np.sin(v * 8.0), 0.0, 1.0)
    elif spec.texture == "striped":
        dark = np.clip(0.5 + 1.6 * np.sin(u * 11.5), 0.0, 1.0)  # about four stripes across
    else:
        assert spec.texture == "dotted", f"no pattern is known for the texture '{spec.texture}'"
        dark = np.clip(0.5 + 1.6 * (np.sin(u * 10.0) + np.sin(v * 10.0) - 0.75), 0.0, 1.0)
    light *= 1.0 - TEXTURE_DEPTH * dark
    return light


def lay_out(stamps: Sequence[Stamp], side: int) -> Layout:
    """Visible masks of objects stamped from back to front."""
    masks = np.zeros((len(stamps), side, side), dtype=np.bool_)
    for index, stamp in enumerate(stamps):
        masks[:index, stamp.rows, stamp.columns] &= ~stamp.mask
        masks[index, stamp.rows, stamp.columns] = stamp.mask
    visible = [np.count_nonzero(masks[index, stamp.rows, stamp.columns]) for index, stamp in enumerate(stamps)]
    total = [np.count_nonzero(stamp.mask) for stamp in stamps]
    return Layout(masks, np.array(visible, dtype=np.int64), np.array(total, dtype=np.int64))


def tight_boxes(masks: Bools) -> Floats:
    """Boxes [N, 4] (xyxy, far edges one past the last pixel) of masks [N, S, S], none of them empty."""
    side = masks.shape[-1]
    boxes = np.empty((len(masks), 4), dtype=np.float32)
    for offset, axis in ((0, 1), (1, 2)):
        occupied: Bools = np.logical_or.reduce(masks, axis=axis)
        boxes[:, offset] = occupied.argmax(axis=1)
        boxes[:, offset + 2] = side - occupied[:, ::-1].argmax(axis=1)
    return boxes


def occlusions(stamps: Sequence[Stamp]) -> tuple[tuple[int, int], ...]:
    """Pairs (front, back) where the first hides a notable part of the second."""
    pairs = []
    for front, cover in enumerate(stamps):
        for back, under in enumerate(stamps[:front]):
            if _shared_pixels(cover, under) >= HIDDEN_SHARE * np.count_nonzero(under.mask):
                pairs.append((front, back))
    return tuple(pairs)


def _shared_pixels(first: Stamp, second: Stamp) -> int:
    top, bottom = max(first.rows.start, second.rows.start), min(first.rows.stop, second.rows.stop)
    left, right = max(first.columns.start, second.columns.start), min(first.columns.stop, second.columns.stop)
    if top >= bottom or left >= right:
        return 0
    views = [
        stamp.mask[
            top - stamp.rows.start : bottom - stamp.rows.start, left - stamp.columns.start : right - stamp.columns.start
        ]
        for stamp in (first, second)
    ]
    return int(np.count_nonzero(views[0] & views[1]))


def paint(scene: Scene, stamps: Sequence[Stamp], side: int) -> NDArray[np.uint8]:
    """The picture, uint8 [3, S, S], RGB."""
    noise = np.random.Generator(np.random.PCG64(scene.noise_seed))
    canvas = _background(scene.background, scene.brightness, noise, side)
    for spec, stamp in zip(scene.objects, stamps, strict=True):
        patch = canvas[:, stamp.rows, stamp.columns]
        color = np.array(PALETTE[spec.color], dtype=np.float32) * np.float32(spec.brightness * scene.brightness)
        surface = color[:, None, None] * stamp.tone
        surface -= patch
        surface *= stamp.coverage
        patch += surface
    # Raw bytes are uniform noise at a tenth of the cost of normal draws.
    grain = np.frombuffer(noise.bytes(canvas.size), dtype=np.uint8).reshape(canvas.shape)
    canvas += grain * np.float32(scene.noise / 127.5)
    canvas -= np.float32(scene.noise - 0.5)  # the half makes the truncation below a rounding
    np.clip(canvas, 0.0, 255.0, out=canvas)
    return canvas.astype(np.uint8)


def _background(spec: BackgroundSpec, brightness: float, noise: np.random.Generator, side: int) -> Floats:
    """Float [3, S, S] in grey levels: the two tones mixed by the pattern."""
    scale = np.float32(255 * brightness)
    first = np.array(spec.first, dtype=np.float32)[:, None, None] * scale
    second = np.array(spec.second, dtype=np.float32)[:, None, None] * scale
    return _pattern(spec, noise, side) * (second - first) + first


def _pattern(spec: BackgroundSpec, noise: np.random.Generator, side: int) -> Floats:
    """Float [S, S] in [0, 1]: how much of the second tone each pixel has."""
    axis = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(1 / side)
    along = _turned(axis - np.float32(0.5), axis - np.float32(0.5), spec.angle)[0]
    pace = np.float32(2 * math.pi / spec.period)
    pattern: Floats
    if spec.kind == "plain":
        pattern = np.zeros((side, side), dtype=np.float32)
    elif spec.kind == "cloudy":
        weights = _cloud_weights(side)
        pattern = weights @ noise.random((CLOUD_CELLS, CLOUD_CELLS), dtype=np.float32) @ weights.T
    elif spec.kind == "checkered":
        wave = np.clip(4.0 * np.sin(axis * pace + np.float32(spec.phase)), -1.0, 1.0)
        pattern = 0.5 + 0.5 * wave[:, None] * wave
    elif spec.kind == "gradient":
        pattern = np.clip(0.5 + 0.8 * along, 0.0, 1.0)
    else:
        assert spec.kind == "striped", f"no pattern is known for the background '{spec.kind}'"
        pattern = np.clip(0.5 + 2.0 * np.sin(along * pace + np.float32(spec.phase)), 0.0, 1.0)
    return pattern


@lru_cache(maxsize=8)
def _cloud_weights(side: int) -> Floats:
    """Smooth interpolation float [S, cells] from a coarse grid to the pixels; rows sum to one."""
    position = np.linspace(0, CLOUD_CELLS - 1, side, dtype=np.float32)[:, None]
    distance = np.clip(np.abs(position - np.arange(CLOUD_CELLS, dtype=np.float32)), 0.0, 1.0)
    weights: Floats = 0.5 + 0.5 * np.cos(distance * np.float32(math.pi))
    return weights
