"""What a user sees: typed results in the original image's pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from torch import Tensor

from glipv2.structures.batches import TensorStruct
from glipv2.structures.boxes import xyxy_to_xywh
from glipv2.structures.drawing import draw_boxes
from glipv2.structures.interchange import supervision_detections
from glipv2.structures.vocabulary import Vocabulary

if TYPE_CHECKING:
    from PIL.Image import Image

    from glipv2.structures.drawing import Drawable


class Prediction(Protocol):
    """What every task says of one image of `image_size` (height, width), in its pixels.

    above: without boxes scored below a threshold; lines: (what, score, where) for a table; to_records: for
    predictions.json; to_coco: every box as a COCO detection result; to_dict: everything as plain values for JSON;
    to_supervision: every box as `supervision.Detections`; draw: on a copy of the image.
    """

    @property
    def image_size(self) -> tuple[int, int]: ...

    def above(self, threshold: float) -> Self: ...

    def lines(self) -> list[tuple[str, str, str]]: ...

    def to(self, *args: Any, **kwargs: Any) -> Self: ...

    def to_records(self, image_id: int | str) -> list[dict[str, Any]]: ...

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]: ...

    def to_dict(self) -> dict[str, Any]: ...

    def to_supervision(self) -> Any: ...

    def draw(self, image: Drawable, threshold: float = 0.0) -> Image: ...


@dataclass(frozen=True)
class Detections(TensorStruct):
    """Objects found in one image, best first.

    boxes float [K, 4] xyxy in pixels of the original image of `image_size` (height, width);
    scores float [K] in [0, 1]; labels int64 [K], indices into `vocabulary`.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    image_size: tuple[int, int]
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return self.boxes.shape[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each object."""
        return tuple(self.vocabulary.names[label] for label in self.labels.tolist())

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The data set's own id of each object."""
        return tuple(self.vocabulary.category_ids[label] for label in self.labels.tolist())

    def best(self, count: int) -> Detections:
        """The first `count` objects, which are the best."""
        own = slice(count)
        return Detections(self.boxes[own], self.scores[own], self.labels[own], self.image_size, self.vocabulary)

    def above(self, threshold: float) -> Detections:
        """Only objects whose score is at least `threshold`."""
        keep = self.scores >= threshold
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], self.image_size, self.vocabulary)

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """COCO result records (xywh boxes), with the name added."""
        rows = zip(xyxy_to_xywh(self.boxes).tolist(), self.scores.tolist(), self.category_ids, self.names, strict=True)
        return [
            {"image_id": image_id, "category_id": category_id, "category_name": name, "bbox": box, "score": score}
            for box, score, category_id, name in rows
        ]

    def lines(self) -> list[tuple[str, str, str]]:
        """Name, score and box of each object, as text."""
        rows = zip(self.names, self.scores.tolist(), self.boxes.tolist(), strict=True)
        return [(name, f"{score:.3f}", ", ".join(f"{value:.0f}" for value in box)) for name, score, box in rows]

    def to_records(self, image_id: int | str) -> list[dict[str, Any]]:
        """What predictions.json holds of this image."""
        return self.to_coco(image_id)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        return {
            "image_size": list(self.image_size),
            "boxes": self.boxes.tolist(),
            "scores": self.scores.tolist(),
            "names": list(self.names),
            "category_ids": list(self.category_ids),
        }

    def to_supervision(self) -> Any:
        """As `supervision.Detections`; UserError where that library is not installed."""
        return supervision_detections(self.boxes, self.scores, self.labels, self.names)

    def draw(self, image: Drawable, threshold: float = 0.0) -> Image:
        """A copy of the image (of this prediction's size) with boxes, names and scores on it."""
        shown = self.above(threshold)
        captions = [f"{name} {score:.2f}" for name, score in zip(shown.names, shown.scores.tolist(), strict=True)]
        return draw_boxes(image, shown.boxes.tolist(), captions, shown.labels.tolist())
