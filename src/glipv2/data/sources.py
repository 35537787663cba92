"""The data presets: which samples, from where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from glipv2.data.coco import CocoDataset
from glipv2.data.dataset import DataConfig, SampleDataset
from glipv2.data.shapes import ShapesDataset
from glipv2.errors import UserError


@dataclass
class ShapesData(DataConfig):
    """`data=shapes`: procedural scenes, no files. Split "unseen" holds names never met in training.

    eval_captions: sentences that are true of a scene, against which a written one is judged; training has one.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"boxes", "masks", "phrases", "captions", "questions"})
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "unseen")

    seed: int = 0
    image_size: int = 128
    max_objects: int = 6
    train_scenes: int = 100_000
    eval_scenes: int = 500
    eval_captions: int = 5

    def dataset(self, split: str, needs: frozenset[str] = frozenset()) -> SampleDataset:
        """Scenes of a split: every training index is another scene. Language is made where it is needed."""
        self.check_split(split)
        length, captions = (self.train_scenes, 1) if split == "train" else (self.eval_scenes, self.eval_captions)
        return ShapesDataset(
            split,
            length,
            self.seed,
            self.image_size,
            self.max_objects,
            with_language=bool(needs & {"phrases", "captions", "questions"}),
            captions_per_scene=captions if "captions" in needs else 1,
        )


@dataclass
class CocoSplit:
    """One COCO instances file and the folder of its images."""

    annotations: str | None = None
    images: str | None = None


@dataclass
class CocoData(DataConfig):
    """`data=coco`: any COCO instances JSON with its image folder, for each split that is used.

    on_error: "raise" refuses a file with faults before the first step, "skip" counts and leaves out.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"boxes", "masks"})
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    train: CocoSplit = field(default_factory=CocoSplit)
    val: CocoSplit = field(default_factory=CocoSplit)
    test: CocoSplit = field(default_factory=CocoSplit)
    on_error: str = "raise"

    def dataset(self, split: str, needs: frozenset[str] = frozenset()) -> SampleDataset:
        """The images of a split; UserError naming the missing key or the first fault."""
        self.check_split(split)
        files: CocoSplit = getattr(self, split)
        for key in ("annotations", "images"):
            if not getattr(files, key):
                raise UserError(f"data.{split}.{key} is not set; give the path, as in data.{split}.{key}=PATH")
        assert files.annotations and files.images
        return CocoDataset(files.annotations, files.images, with_masks="masks" in needs, on_error=self.on_error)
