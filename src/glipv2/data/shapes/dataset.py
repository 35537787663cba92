"""The procedural data set: scenes made while they are asked for, the same for the same seed everywhere."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Self

import torch
from torch.utils.data import Dataset

from glipv2.data.shapes.captions import caption_words, write_caption
from glipv2.data.shapes.questions import answer_vocabulary, ask, question_words
from glipv2.data.shapes.render import Layout, Stamp, lay_out, occlusions, paint, stamp_object, tight_boxes
from glipv2.data.shapes.scene import (
    EVERYTHING,
    MAX_OBJECTS,
    SHAPES_WORLD,
    Cast,
    Scene,
    category_name,
    check_split,
    random_source,
    sample_scene,
    split_pairs,
)
from glipv2.data.truths import truth_of
from glipv2.errors import UserError
from glipv2.structures import Caption, ImageTruth, Instances, Question, Sample, Vocabulary

NAMES: tuple[str, ...] = tuple(map(category_name, SHAPES_WORLD.pairs))
SEEN: tuple[str, ...] = tuple(map(category_name, SHAPES_WORLD.seen))
HELD_OUT: tuple[str, ...] = tuple(map(category_name, SHAPES_WORLD.held_out))

LEAST_VISIBLE = 0.5  # of every object's pixels: with less, a star and a square look alike
LEAST_SIDE = 64  # below it small objects are a few pixels wide and textures vanish


class ShapesDataset(Dataset[Sample]):
    """`length` scenes of a split ("train", "val" or "unseen"), each a pure function of seed, split and number.

    Scenes are square, `image_size` pixels a side, and hold 1 to `max_objects` objects, drawn from back
    to front in the order of the instances. Without language, samples have no captions and no questions
    and are made faster; pictures and annotations stay the same. `scored_names` are the names over which
    this split's average precision means something: the seen ones, or in "unseen" the held-out ones.
    cast: which objects there are, and how rare some are in training; language is known for the world of shapes
    alone. in_turn: every name has one scene in so many, one after the other, so that few scenes hold them all.

    Raises UserError for an unknown split or a size or number out of range.
    """

    def __init__(
        self,
        split: str,
        length: int,
        seed: int = 0,
        image_size: int = 128,
        max_objects: int = MAX_OBJECTS,
        *,
        with_language: bool = True,
        captions_per_scene: int = 1,
        questions_per_scene: int = 3,
        cast: Cast = EVERYTHING,
        in_turn: bool = False,
    ) -> None:
        self.split = check_split(split)
        self.length = _at_least("length", length, 1)
        self.seed = seed
        self.image_size = _at_least("image_size", image_size, LEAST_SIDE)
        self.max_objects = _at_least("max_objects", max_objects, 1)
        if max_objects > MAX_OBJECTS:
            raise UserError(f"expected max_objects of at most {MAX_OBJECTS}, but got {max_objects}")
        self.with_language = with_language
        self.cast = cast if split == "train" else replace(cast, rare_share=1.0)
        self.in_turn = in_turn
        self.captions_per_scene = _at_least("captions_per_scene", captions_per_scene, 0)
        self.questions_per_scene = _at_least("questions_per_scene", questions_per_scene, 0)
        self.vocabulary = Vocabulary(tuple(map(category_name, cast.world.pairs)))
        self.answers = answer_vocabulary()
        scored = cast.world.held_out if split == "unseen" else cast.world.seen
        self.scored_names = tuple(map(category_name, scored))
        self._first = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        number = self.scene_number(index)
        scene, stamps, layout = self._compose(number)
        captions, questions = self._tell(scene, stamps, number) if self.with_language else ((), ())
        return Sample(
            image=torch.from_numpy(paint(scene, stamps, self.image_size)),
            image_id=number,
            name=f"shapes/{self.split}/{number}",
            instances=self._instances(scene, layout),
            captions=captions,
            questions=questions,
        )

    def truth(self, index: int) -> ImageTruth:
        """The sample without its picture, which is made all the same: nothing of a scene is stored."""
        return truth_of(self[index])

    def at_epoch(self, epoch: int) -> Self:
        """The same data set with the scenes of another epoch: none is ever shown twice.

        Epoch 0 is the data set as built. Image ids go on counting: epoch * length + index.
        """
        later = copy.copy(self)
        later._first = _at_least("epoch", epoch, 0) * self.length
        return later

    def scene_number(self, index: int) -> int:
        """The number, and image id, of the scene at an index; IndexError outside the data set."""
        if not 0 <= index < self.length:
            raise IndexError(f"expected an index in [0, {self.length}) of shapes/{self.split}, but got {index}")
        return self._first + index

    def scene(self, index: int) -> Scene:
        """The description behind a sample."""
        return self._compose(self.scene_number(index))[0]

    def _compose(self, number: int) -> tuple[Scene, list[Stamp], Layout]:
        """The first scene drawn for this number in which enough of every object can be seen."""
        random = random_source(self.seed, self.split, number, "scene")
        names = self.cast.world.seen
        first = names[number % len(names)] if self.in_turn else None
        while True:  # about one scene in thirty is drawn again
            scene = sample_scene(random, self.split, self.max_objects, self.cast, first)
            stamps = [stamp_object(spec, self.image_size) for spec in scene.objects]
            layout = lay_out(stamps, self.image_size)
            if layout.smallest_share >= LEAST_VISIBLE:
                return scene, stamps, layout

    def _instances(self, scene: Scene, layout: Layout) -> Instances:
        labels = [self.vocabulary.label_of_name(spec.name) for spec in scene.objects]
        return Instances(
            boxes=torch.from_numpy(tight_boxes(layout.masks)),
            labels=torch.tensor(labels, dtype=torch.int64),
            is_crowd=torch.zeros(len(labels), dtype=torch.bool),
            areas=torch.from_numpy(layout.visible).float(),
            masks=torch.from_numpy(layout.masks),
        )

    def _tell(self, scene: Scene, stamps: list[Stamp], number: int) -> tuple[tuple[Caption, ...], tuple[Question, ...]]:
        random = random_source(self.seed, self.split, number, "language")
        hidden = occlusions(stamps)
        first = [write_caption(scene, hidden, random) for _ in range(min(self.captions_per_scene, 1))]
        questions = ask(scene, split_pairs(self.split), self.questions_per_scene, random)
        # Written last: how many captions a scene has changes none of its questions.
        others = [write_caption(scene, hidden, random) for _ in range(self.captions_per_scene - 1)]
        return (*first, *others), questions


def words() -> tuple[str, ...]:
    """Every word and punctuation mark of the names, captions, questions and answers, sorted."""
    return tuple(sorted({*caption_words(), *question_words()}))


def _at_least(name: str, value: int, least: int) -> int:
    if value < least:
        raise UserError(f"expected {name} of at least {least}, but got {value}")
    return value
