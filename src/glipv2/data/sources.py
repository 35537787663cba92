"""The data presets: which samples, from where."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from glipv2.data.auto import Source, find_source
from glipv2.data.chosen import ChosenSamples
from glipv2.data.coco_split import CocoSplit
from glipv2.data.dataset import DataConfig, SampleDataset
from glipv2.data.faults import check_policy
from glipv2.data.few_shots import FewShots
from glipv2.data.holdout import HoldoutPart
from glipv2.data.joined import AnswerChoice
from glipv2.data.shapes import ShapesDataset
from glipv2.data.shapes.scene import WORLDS, Cast
from glipv2.data.shards.dataset import PackedSamples, find_view, open_index
from glipv2.data.shards.files import ReadingConfig, ShardFiles
from glipv2.data.shards.order import WINDOW
from glipv2.data.truths import DescribedImages
from glipv2.errors import UserError, nearest
from glipv2.ranges import at_least, within

logger = logging.getLogger(__name__)


@dataclass
class ShapesData(DataConfig):
    """`data=shapes`: procedural scenes, no files. Split "unseen" holds names never met in training.

    eval_captions: sentences that are true of a scene, against which a written one is judged; training has one.
    train_questions, eval_questions: asked about a scene, each of another kind (there are eight; fewer where a
    scene does not allow them).
    world: "shapes", or "signs" with other colours, shapes, textures and words, of which there is no language and no
    unseen split. rare_share: how often training meets eight of the names, relative to the others. shots: training has
    just so many scenes of every name, and others' objects in them (0 = `train_scenes`).
    """

    provides: ClassVar[frozenset[str]] = frozenset({"boxes", "masks", "phrases", "captions", "questions"})
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "unseen")

    world: str = "shapes"
    rare_share: float = within(0.001, 1, 1.0)
    shots: int = at_least(0, 0)
    seed: int = at_least(0, 0)
    image_size: int = at_least(64, 128)
    max_objects: int = at_least(1, 6)
    train_scenes: int = at_least(1, 100_000)
    eval_scenes: int = at_least(1, 500)
    eval_captions: int = at_least(1, 5)
    train_questions: int = at_least(1, 3)
    eval_questions: int = at_least(1, 3)

    def check_split(self, split: str) -> None:
        """Also refuses a world that there is not, and the unseen split of one without held-out names."""
        super().check_split(split)
        if self.world not in WORLDS:
            raise UserError(f"data.world: no world '{self.world}'; {nearest(self.world, WORLDS)}")
        if split == "unseen" and not WORLDS[self.world].held_out:
            raise UserError(f"data.world={self.world} has no unseen split; leave it out of also_evaluate and split")

    def check_needs(self, needs: frozenset[str], splits: Iterable[str], who: str) -> None:
        """Also refuses language of a world that has none."""
        super().check_needs(needs, splits, who)
        told = sorted(needs - {"boxes", "masks"})
        if told and self.world != "shapes":
            raise UserError(f"{who} needs {', '.join(told)}, which data.world={self.world} does not have; use shapes")

    def dataset(self, split: str, needs: frozenset[str] = frozenset()) -> SampleDataset:
        """Scenes of a split: every training index is another scene. Language is made where it is needed."""
        self.check_split(split)
        world = WORLDS[self.world]
        train = split == "train"
        length, captions = (self.train_scenes, 1) if train else (self.eval_scenes, self.eval_captions)
        few = train and self.shots > 0
        return ShapesDataset(
            split,
            self.shots * len(world.seen) if few else length,
            self.seed,
            self.image_size,
            self.max_objects,
            with_language=bool(needs & {"phrases", "captions", "questions"}),
            captions_per_scene=captions if "captions" in needs else 1,
            questions_per_scene=self.train_questions if train else self.eval_questions,
            cast=Cast(world, self.rare_share),
            in_turn=few,
        )


@dataclass
class FileData(DataConfig):
    """What data of files has in common, whatever its layout.

    on_error: "raise" refuses a file with faults before the first step, "skip" counts and leaves out.
    answer_vocabulary, answer_min_count: the answers that are learned are the most frequent of the training
    split, at most so many, each right for at least so many questions (VQA v2's usual numbers; a small set
    needs answer_min_count=1).
    shots: training keeps just enough images for so many boxes of every name, drawn by shots_seed (0 = all images).
    first: training keeps the first so many images of those (0 = all): whether a handful is learned shows in minutes.
    Tasks that need other files count their own images.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"boxes", "masks", "phrases", "captions", "questions"})
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    on_error: str = "raise"
    answer_vocabulary: int = at_least(1, 3129)
    answer_min_count: int = at_least(1, 9)
    shots: int = at_least(0, 0)
    shots_seed: int = at_least(0, 0)
    first: int = at_least(0, 0)

    def check_needs(self, needs: frozenset[str], splits: Iterable[str], who: str) -> None:
        """Also refuses to choose images by names where a task has none."""
        super().check_needs(needs, splits, who)
        if self.shots and "train" in splits and not needs & {"boxes", "masks"}:
            raise UserError(f"data.shots counts boxes of names, of which {who} has none; leave it out")
        if self.shots and "train" in splits and "phrases" in needs:
            raise UserError(
                f"data.shots counts boxes of names, but {who} needs phrases, which are no names; leave it out"
            )

    def _taught(self, samples: SampleDataset, split: str) -> SampleDataset:
        """The samples, or those of them that `shots` and `first` leave."""
        if split != "train":
            return samples
        if self.shots:
            samples = FewShots(samples, self.shots, self.shots_seed)
        if not self.first or self.first >= len(samples):
            return samples
        logger.info("data.first=%d: trains on the first of %d images", self.first, len(samples))
        return ChosenSamples(samples, range(self.first))


@dataclass
class CocoData(FileData):
    """`data=coco`: COCO instances and captions, VQA v2, MDETR's grounded captions, for each split that is used.

    What a task needs comes from one file each, joined by image id: boxes, masks and their names from
    `annotations`; captions from `captions`, else from `grounding`; questions from `questions` and `answers`.
    Phrases come with captions and boxes of `grounding`, whose one class is "object": names and phrases
    never share boxes. A task that needs no boxes gets none; its images are those listed by `captions`, else by
    `annotations`, else those of the folder, by the number in their names.

    All else: as in `FileData`.
    """

    train: CocoSplit = field(default_factory=CocoSplit)
    val: CocoSplit = field(default_factory=CocoSplit)
    test: CocoSplit = field(default_factory=CocoSplit)

    def holds(self, split: str, needs: frozenset[str]) -> frozenset[str]:
        """The needs; captions of a grounding file have phrases and boxes too."""
        return self._files(split).holds(needs)

    def check_needs(self, needs: frozenset[str], splits: Iterable[str], who: str) -> None:
        """Also refuses files that are not set, by their keys."""
        super().check_needs(needs, splits, who)
        for split in splits:
            self.check_split(split)
            missing = self._files(split).missing(needs, with_answers=split != "test")
            if missing:
                lacking = " and ".join(need for need in sorted(needs) if missing.get(need)) or "images"
                keys = [f"data.{split}.{key}" for own in missing.values() for key in own]
                raise UserError(f"{who} needs {lacking}; set {' and '.join(dict.fromkeys(keys))}")

    def dataset(self, split: str, needs: frozenset[str] = frozenset({"boxes"})) -> SampleDataset:
        """The images of a split that have all of `needs`; UserError naming the missing key or the first fault."""
        self.check_needs(needs, [split], f"data.{split}")
        answers = AnswerChoice(self.answer_vocabulary, self.answer_min_count) if split == "train" else None
        return self._taught(self._files(split).samples(needs, self.on_error, answers, f"data.{split}"), split)

    def _files(self, split: str) -> CocoSplit:
        files: CocoSplit = getattr(self, split)
        return files


@dataclass
class AutoSplit:
    """A split's own file or folder of annotations, and the folder of its images where that is not near."""

    path: str | None = None
    images: str | None = None


@dataclass
class AutoData(FileData):
    """`data=auto`: files and folders of any layout that is read, by what they hold; a log line says what that is.

    path: a folder with splits (YOLO, Pascal VOC, Flickr30k Entities, or JSON files named by split), or a file named
    by its split, beside which those of the others are found. `train`, `val` and `test` may each have their own.
    images: the folder of the images, which is looked for near the annotations otherwise.
    holdout: the share of the training images that is the val split, chosen by their names, for data that has none.
    All else: as in `FileData`.
    """

    path: str | None = None
    images: str | None = None
    holdout: float = 0.0
    train: AutoSplit = field(default_factory=AutoSplit)
    val: AutoSplit = field(default_factory=AutoSplit)
    test: AutoSplit = field(default_factory=AutoSplit)

    def holds(self, split: str, needs: frozenset[str]) -> frozenset[str]:
        """The needs; captions of a grounding file have phrases and boxes too."""
        return self.source(split).holds(needs)

    def check_needs(self, needs: frozenset[str], splits: Iterable[str], who: str) -> None:
        """Also refuses layouts that can't give them, and one file for two splits."""
        super().check_needs(needs, splits, who)
        seen: dict[Source, str] = {}
        for split in splits:
            self.check_split(split)
            source = self.source(split)
            lacking = source.lacks(needs)
            if lacking:
                what = f"{source.found.path} is {source.found.format.value} ({source.found.why})"
                raise UserError(f"{who} needs {', '.join(sorted(lacking))}, but {what}; choose another file or task=")
            other = seen.setdefault(source, split)
            if other != split and not (self._own(split).path or self._divided(split)):
                keys = f"data.{other}.path and data.{split}.path"
                raise UserError(f"{source.found.path} would be both {other} and {split}; set {keys}")

    def dataset(self, split: str, needs: frozenset[str] = frozenset({"boxes"})) -> SampleDataset:
        """The images of a split; UserError for what is not recognised, or the first fault."""
        self.check_needs(needs, [split], f"data.{split}")
        own = self._own("train" if self._divided(split) else split)
        source, images = self.source(split), own.images or self.images
        answers = AnswerChoice(self.answer_vocabulary, self.answer_min_count) if split == "train" else None
        opened = source.open(needs, Path(images) if images else None, self.on_error, answers, f"data.{split}.images")
        found = source.found
        where = f" in {opened.folder}" if isinstance(opened, DescribedImages) else ""
        samples = HoldoutPart(opened, self.holdout, split == "val") if self._divided(split) else opened
        logger.info(
            "data.%s: reads %s as %s, because %s; %d images%s",
            split,
            found.path,
            found.format.value,
            found.why,
            len(samples),
            where,
        )
        return self._taught(samples, split)

    def _own(self, split: str) -> AutoSplit:
        own: AutoSplit = getattr(self, split)
        return own

    def _divided(self, split: str) -> bool:
        """Whether the split is a share of the training images, or what is left of them."""
        return bool(self.holdout) and split in ("train", "val")

    def source(self, split: str) -> Source:
        """What the split is read from; UserError where nothing is found."""
        split = "train" if self._divided(split) else split
        path = self._own(split).path or self.path
        if path and "://" in path:
            raise UserError(
                f"{path} is an address; only what glipv2 data pack wrote is read from there, by data=packed"
            )
        if not path:
            raise UserError(f"data=auto needs data.path (a folder with splits, or a file) or data.{split}.path")
        return find_source(Path(path).expanduser(), split, f"data.{split}.path")


@dataclass
class PackedSplit:
    """A split's own pack, where it is another than that of `data.path`."""

    path: str | None = None


@dataclass
class PackedData(DataConfig):
    """`data=packed`: what `glipv2 data pack` wrote, in a folder or behind an address (https://, s3://, …).

    path: of the pack. on_error: "raise" ends a training at the first shard or picture that can't be read in all tries,
    "skip" counts and leaves out. window: how many shards' samples are mixed at a time, 0 = all.
    answer_vocabulary, answer_min_count: as in `FileData`.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"boxes", "masks", "phrases", "captions", "questions"})
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test", "unseen")

    path: str | None = None
    train: PackedSplit = field(default_factory=PackedSplit)
    val: PackedSplit = field(default_factory=PackedSplit)
    test: PackedSplit = field(default_factory=PackedSplit)
    unseen: PackedSplit = field(default_factory=PackedSplit)
    on_error: str = "raise"
    window: int = WINDOW
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    answer_vocabulary: int = 3129
    answer_min_count: int = 9

    def holds(self, split: str, needs: frozenset[str]) -> frozenset[str]:
        """As the source of the pack did."""
        view = open_index(self._files(split)).splits[split].view(needs)
        return frozenset(view.holds) if view else needs

    def check_needs(self, needs: frozenset[str], splits: Iterable[str], who: str) -> None:
        """Also refuses packs without them."""
        super().check_needs(needs, splits, who)
        check_policy(self.on_error)
        for split in splits:
            self.check_split(split)
            files = self._files(split)
            find_view(open_index(files), files, split, needs)

    def dataset(self, split: str, needs: frozenset[str] = frozenset({"boxes"})) -> SampleDataset:
        """The samples of a split; UserError for what is no pack, or lacks them."""
        self.check_needs(needs, [split], f"data.{split}")
        answers = AnswerChoice(self.answer_vocabulary, self.answer_min_count) if split == "train" else None
        samples = PackedSamples(self._files(split), split, needs, answers, self.window)
        logger.info(
            "data.%s: %d images in %d shards of %s", split, len(samples), len(samples.shards.shards), samples.files.base
        )
        return samples

    def _files(self, split: str) -> ShardFiles:
        own: PackedSplit = getattr(self, split)
        path = own.path or self.path
        if not path:
            raise UserError(f"data=packed needs data.path (what glipv2 data pack wrote) or data.{split}.path")
        return ShardFiles(path if "://" in path else str(Path(path).expanduser()), self.reading)
