"""The standard files about one folder of images, and the samples that they make together."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glipv2.data.captions import KnownImages, caption_content, read_captions
from glipv2.data.coco import CocoDataset, read_coco
from glipv2.data.dataset import SampleDataset
from glipv2.data.faults import check_policy
from glipv2.data.joined import AnswerChoice, ImageFiles, JoinedDataset, NumberedSamples
from glipv2.data.mdetr import MdetrDataset
from glipv2.data.questions import read_questions
from glipv2.errors import UserError

logger = logging.getLogger(__name__)

BOXED = frozenset({"boxes", "masks", "phrases"})  # needs that no image without boxes meets


@dataclass
class CocoSplit:
    """The folder of a split's images, and the field's standard files about them: those that a task needs.

    annotations: COCO instances; captions: COCO captions; questions, answers: VQA v2's two files (a test
    split has no answers); grounding: captions in MDETR's layout, which bring their own boxes.
    """

    images: str | None = None
    annotations: str | None = None
    captions: str | None = None
    questions: str | None = None
    answers: str | None = None
    grounding: str | None = None

    def grounded(self, needs: frozenset[str]) -> bool:
        """Whether captions and boxes are those of the grounding file, which names its boxes in words."""
        return "phrases" in needs or bool("captions" in needs and self.grounding and not self.captions)

    def holds(self, needs: frozenset[str]) -> frozenset[str]:
        """What the samples for these needs hold."""
        return needs | {"boxes", "captions", "phrases"} if self.grounded(needs) else needs

    def missing(self, needs: frozenset[str], *, with_answers: bool) -> dict[str, list[str]]:
        """The keys that must be set and are not, by the need that asks for them."""
        grounded = self.grounded(needs)
        wanted = {
            "boxes": ["grounding" if grounded else "annotations"],
            "masks": ["annotations"],
            "phrases": ["grounding"],
            "captions": ["grounding" if grounded else "captions"],
            "questions": ["questions", "answers"] if with_answers else ["questions"],
        }
        missing = {need: [key for key in wanted[need] if not getattr(self, key)] for need in sorted(needs)}
        missing["images"] = [] if self.images else ["images"]
        return {need: keys for need, keys in missing.items() if keys}

    def samples(self, needs: frozenset[str], on_error: str, answers: AnswerChoice | None, where: str) -> SampleDataset:
        """The images that have all of `needs`, of which none is `missing`; UserError for the first fault.

        answers: which of them questions are taught with, None = none; where: the split's key, for messages.
        """
        check_policy(on_error)
        grounded = self.grounded(needs)
        with_captions = "captions" in needs and not grounded
        sentences = caption_content(Path(self.captions)) if self.captions and not needs & BOXED else None
        images = self._images(needs, on_error, sentences)
        if not with_captions and "questions" not in needs:
            return images
        known = KnownImages(frozenset(images.image_ids), images.dropped, where, complete=not grounded)
        captions = questions = None
        if with_captions:
            assert self.captions, "check what is missing first"
            path = Path(self.captions)
            captions = read_captions(path, sentences or caption_content(path), known, on_error)
        if "questions" in needs:
            assert self.questions, "check what is missing first"
            questions = read_questions(
                Path(self.questions), Path(self.answers) if self.answers else None, known, on_error
            )
        return JoinedDataset(images, captions=captions, questions=questions, answers=answers, where=where)

    def _images(self, needs: frozenset[str], on_error: str, sentences: dict[str, list[Any]] | None) -> NumberedSamples:
        """The images with their boxes where these are needed."""
        assert self.images, "check what is missing first"
        folder = Path(self.images)
        if self.grounded(needs):
            assert self.grounding, "check what is missing first"
            if "masks" in needs:
                raise UserError(
                    f"{self.grounding}: grounded captions have no masks; ask for boxes or for detection data"
                )
            grounded = MdetrDataset(self.grounding, folder, on_error=on_error)
            logger.info("%s: %d images with grounded captions", self.grounding, len(grounded))
            return grounded
        if needs & BOXED:
            assert self.annotations, "check what is missing first"
            return CocoDataset(self.annotations, folder, with_masks="masks" in needs, on_error=on_error)
        if sentences is not None and self.captions:
            return ImageFiles(folder, records=sentences["images"], source=Path(self.captions), on_error=on_error)
        if self.annotations:
            path = Path(self.annotations)
            return ImageFiles(folder, records=read_coco(path)["images"], source=path, on_error=on_error)
        return ImageFiles(folder)
