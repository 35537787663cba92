"""What a user sees of segmentation: objects with their masks, in the original image's pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from glipv2.structures.batches import TensorStruct
from glipv2.structures.boxes import scale_boxes
from glipv2.structures.drawing import draw_masks
from glipv2.structures.interchange import supervision_detections
from glipv2.structures.masks import RunLengths, pasted_above, pasted_run_lengths
from glipv2.structures.predictions import Detections
from glipv2.structures.vocabulary import Vocabulary

if TYPE_CHECKING:
    from PIL.Image import Image

    from glipv2.structures.drawing import Drawable


@dataclass(frozen=True)
class Segments(TensorStruct):
    """Objects found in one image, best first, each with a mask.

    cells float [K, S, S] in [0, 1]: how likely each cell of an object's box is to belong to it. That is
    all that is kept; masks of the image are made of it when they are asked for.
    """

    detections: Detections
    cells: Tensor

    def __len__(self) -> int:
        return len(self.detections)

    @property
    def boxes(self) -> Tensor:
        """Float [K, 4] xyxy in pixels of the original image."""
        return self.detections.boxes

    @property
    def scores(self) -> Tensor:
        """Float [K] in [0, 1]."""
        return self.detections.scores

    @property
    def labels(self) -> Tensor:
        """Int64 [K], indices into `vocabulary`."""
        return self.detections.labels

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each object."""
        return self.detections.names

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the original image."""
        return self.detections.image_size

    @property
    def vocabulary(self) -> Vocabulary:
        """What was asked for."""
        return self.detections.vocabulary

    def masks(self, threshold: float = 0.5) -> Tensor:
        """Bool [K, H, W] in the original image: pixels that belong to each object with at least this probability."""
        return pasted_above(self.cells, self.boxes, self.image_size, threshold)

    def run_lengths(self, threshold: float = 0.5) -> list[RunLengths]:
        """The same as COCO's compressed run lengths, {"size": [height, width], "counts": text}."""
        return pasted_run_lengths(self.cells.cpu(), self.boxes.cpu(), self.image_size, threshold)

    def above(self, threshold: float) -> Segments:
        """Only objects whose score is at least `threshold`."""
        return Segments(self.detections.above(threshold), self.cells[self.scores >= threshold])

    def resized(self, image_size: tuple[int, int]) -> Segments:
        """The same objects in the same image at another size (height, width)."""
        boxes = scale_boxes(self.boxes, self.image_size, image_size)
        return Segments(replace(self.detections, boxes=boxes, image_size=image_size), self.cells)

    def lines(self) -> list[tuple[str, str, str]]:
        """Name, score and box of each object, as text."""
        return self.detections.lines()

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """COCO result records with boxes and run lengths, with the name added."""
        records = zip(self.detections.to_coco(image_id), self.run_lengths(), strict=True)
        return [{**record, "segmentation": mask} for record, mask in records]

    def to_records(self, image_id: int | str) -> list[dict[str, Any]]:
        """What predictions.json holds of this image."""
        return self.to_coco(image_id)

    def to_dict(self) -> dict[str, Any]:
        """As of detections, with "masks": COCO's compressed run lengths."""
        return {**self.detections.to_dict(), "masks": self.run_lengths()}

    def to_supervision(self) -> Any:
        """As `supervision.Detections` with masks; UserError where that library is not installed."""
        return supervision_detections(self.boxes, self.scores, self.labels, self.names, self.masks())

    def draw(self, image: Drawable, threshold: float = 0.0) -> Image:
        """A copy of the image (of this prediction's size) with transparent masks, boxes, names and scores on it."""
        shown = self.above(threshold)
        return shown.detections.draw(draw_masks(image, shown.masks(), shown.labels.tolist()))
