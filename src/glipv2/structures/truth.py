"""What is known of a sample, as the metric of its task asks for it. Boxes are xyxy pixels of the original image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from glipv2.structures.batches import ImageTruth, TensorStruct


@dataclass(frozen=True)
class LvisTruth(TensorStruct):
    """The objects of an image of a federated data set, where each image is judged for some classes only.

    negative_labels: classes known to be absent. not_exhaustive_labels: classes of which not every object is
    annotated. Detections of a class that is neither annotated nor negative say nothing.
    """

    objects: ImageTruth
    negative_labels: tuple[int, ...] = ()
    not_exhaustive_labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class SentenceTruth(TensorStruct):
    """The phrases of one sentence about one image, in their order: only those that have a box.

    boxes: of each phrase its boxes float [N, 4]. kinds: of each phrase its types ("people", "animals", …).
    """

    image_id: int
    sentence_id: int
    boxes: tuple[Tensor, ...]
    kinds: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ExpressionTruth(TensorStruct):
    """The one box float [4] that a referring expression means; the id is the expression's own."""

    expression_id: int
    box: Tensor


@dataclass(frozen=True)
class RegionTruth(TensorStruct):
    """The region that a phrase means: a mask bool [H, W] over all of its instances, and their boxes float [N, 4].

    task_id: of this phrase on this image. subsets: names under which it is also scored apart.
    """

    task_id: str
    mask: Tensor
    boxes: Tensor
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnswerTruth:
    """What people answered to a question (ten of them in VQA v2), and the types under which it is also scored apart."""

    question_id: int
    answers: tuple[str, ...]
    answer_type: str = ""
    question_type: str = ""


@dataclass(frozen=True)
class CaptionTruth:
    """What people wrote about an image."""

    image_id: int
    captions: tuple[str, ...]
