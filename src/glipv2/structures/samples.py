"""One image and what is known of it, as a data set gives it: original pixels, the data set's labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glipv2.structures.prompts import Span


@dataclass(frozen=True)
class Instances:
    """Annotated objects of one image, in its own pixels.

    boxes float [N, 4] xyxy; labels int64 [N]; is_crowd bool [N]; areas float [N] (the data set's
    own, which decides small, medium and large); masks bool [N, H, W] where they are known.
    """

    boxes: Tensor
    labels: Tensor
    is_crowd: Tensor
    areas: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return self.boxes.shape[0]

    @classmethod
    def empty(cls) -> Instances:
        """No object at all: such images train as negatives."""
        return cls(
            torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool), torch.zeros(0)
        )


@dataclass(frozen=True)
class GroundedPhrase:
    """Characters of a caption and the instances (indices) that they name; none when it is known to be absent.

    kinds: types under which the phrase is also scored apart ("people", "animals").
    """

    spans: tuple[Span, ...]
    instances: tuple[int, ...]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Caption:
    """A sentence that came with the image."""

    text: str
    phrases: tuple[GroundedPhrase, ...] = ()


@dataclass(frozen=True)
class Question:
    """A question, its answers (several when several people answered), and where the words are seen.

    kind, answer_kind: types of the question ("how many") and of its answer ("number"), under which it is also
    scored apart; question_id: the data set's own.
    """

    text: str
    answers: tuple[str, ...]
    phrases: tuple[GroundedPhrase, ...] = ()
    kind: str = ""
    question_id: int | None = None
    answer_kind: str = ""


@dataclass(frozen=True)
class Sample:
    """An image (uint8 [3, H, W], RGB) with its annotations; `name` is the file or scene it came from."""

    image: Tensor
    image_id: int
    name: str
    instances: Instances
    captions: tuple[Caption, ...] = ()
    questions: tuple[Question, ...] = ()

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.image.shape[-2]), int(self.image.shape[-1])
