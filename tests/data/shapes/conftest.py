"""Scenes that several tests look at, and a slow reader of what words name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from glipv2.data.shapes import ShapesDataset
from glipv2.data.shapes.scene import COLORS, SHAPES, SIZES, TEXTURES, ObjectSpec, Scene
from glipv2.structures import Sample

Reader = Callable[[str, Scene], tuple[int, ...]]


@dataclass(frozen=True)
class Shown:
    """A scene's description beside the sample made of it."""

    scene: Scene
    sample: Sample


def show(dataset: ShapesDataset) -> list[Shown]:
    """Every scene of a data set."""
    return [Shown(dataset.scene(index), dataset[index]) for index in range(len(dataset))]


@pytest.fixture(scope="session")
def train() -> list[Shown]:
    return show(ShapesDataset("train", 500, image_size=96))


@pytest.fixture(scope="session")
def unseen() -> list[Shown]:
    return show(ShapesDataset("unseen", 200, image_size=96))


@pytest.fixture(scope="session")
def read() -> Reader:
    """The instances that a phrase such as "two small red circles" names, word by word."""
    numbers = {"two", "three", "four", "five", "six"}
    singular = {"crosses": "cross", **{f"{shape}s": shape for shape in (*SHAPES, "object") if shape != "cross"}}

    def has(spec: ObjectSpec, word: str) -> bool:
        if word == "object" or word in numbers:
            return True
        known = {*COLORS, *SHAPES, *SIZES, *TEXTURES}
        assert word in known, f"nobody taught this test the word '{word}'"
        return word in (spec.color, spec.shape, spec.size, spec.texture)

    def named(phrase: str, scene: Scene) -> tuple[int, ...]:
        terms = [singular.get(word, word) for word in phrase.split()]
        return tuple(i for i, spec in enumerate(scene.objects) if all(has(spec, term) for term in terms))

    return named
