"""Large pictures looked at piece by piece, so that small objects are not shrunk away.

supervision slices and merges: its one dependency serves `to_supervision` too, it gives tiles to a model in batches, and
needs neither OpenCV nor a class of its own for the model, both of which sahi wants.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.structures import Detections, Segments
from glipv2.structures.interchange import supervision

NAMED = ("detection", "instance_segmentation")  # tasks that are asked for names
SMALLEST = 32  # pixels; less than the coarsest cell of a pyramid sees
BORDER = 2.0  # pixels; a box that comes so near to the end of its tile may go on beyond it
MOST_TILES = 4096  # of a picture: beyond it the size was a slip

Found = TypeVar("Found", Detections, Segments)


@dataclass(frozen=True)
class Tiles:
    """Squares of `size` pixels that overlap by a share of it.

    The whole picture is looked at too: an object larger than a tile is cut by all of them. Of two whole boxes of one
    name the better one stays where their IoU is above `iou`. A box that ends where its tile ends may be a piece: it
    goes where more than `covered` of the smaller one's area is shared with a whole box or a better piece.
    """

    size: int
    overlap: float = 0.25
    iou: float = 0.5
    covered: float = 0.6

    def __bool__(self) -> bool:
        return self.size > 0

    def check(self) -> None:
        """UserError for tiles that make no sense."""
        if self.size < SMALLEST:
            raise UserError(f"tile: expected a side of at least {SMALLEST} pixels, but got {self.size}")
        if not 0 <= self.overlap < 1:
            raise UserError(f"overlap: expected a share of the tile of 0 up to 1, but got {self.overlap:g}")


def tiles_for(task: str, tile: int | Tiles) -> Tiles:
    """The tiles asked for; UserError for a task whose texts speak of the whole picture, and as from `Tiles.check`."""
    if task not in NAMED:
        raise UserError(
            f"tile goes with {' and '.join(NAMED)}, but the task is {task}: its text is about the whole picture"
        )
    tiles = tile if isinstance(tile, Tiles) else Tiles(tile)
    tiles.check()
    return tiles


def in_tiles(picture: Tensor, tiles: Tiles, look: Callable[[list[Tensor]], Sequence[Found]], batch: int) -> Found:
    """What `look` finds in a picture uint8 [3, H, W] and in its tiles, as one result in the picture's own pixels.

    look: gets up to `batch` pictures. UserError where supervision is not installed, and for tiles that are too many.
    """
    height, width = int(picture.shape[-2]), int(picture.shape[-1])
    whole = look([picture])[0]
    if max(height, width) <= tiles.size:
        return whole
    step = tiles.size * (1 - tiles.overlap)
    if (height / step) * (width / step) > MOST_TILES:
        raise UserError(
            f"tile={tiles.size}: {width} x {height} pixels would be more than {MOST_TILES} tiles; take larger"
        )
    return _merged(picture, tiles, look, batch, whole)


def _merged(
    picture: Tensor, tiles: Tiles, look: Callable[[list[Tensor]], Sequence[Found]], batch: int, whole: Found
) -> Found:
    library = supervision()
    parts: list[Found] = [whole]

    def seen(pieces: Sequence[Any]) -> list[Any]:
        found = look([torch.from_numpy(np.ascontiguousarray(piece)).permute(2, 0, 1) for piece in pieces])
        told = []
        for part in found:
            told.append(_rows(library, part, sum(map(len, parts))))
            parts.append(part)
        return told

    slicer = library.InferenceSlicer(
        seen if batch > 1 else lambda piece: seen([piece])[0],
        slice_wh=tiles.size,
        overlap_wh=int(tiles.size * tiles.overlap),
        overlap_filter=library.OverlapFilter.NONE,
        batch_size=batch,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a box leaves its tile by a rounding error
        moved = slicer(picture.permute(1, 2, 0).contiguous().numpy())
    return _chosen(parts, _without_pieces(library, _rows(library, whole, 0), moved, tiles, whole.image_size))


def _rows(library: Any, found: Detections | Segments, first: int) -> Any:
    """Boxes as the library takes them, each with its row among those of all parts and which of its sides end there."""
    boxes = found.boxes.double().numpy().reshape(-1, 4)
    height, width = found.image_size
    ends = np.concatenate([boxes[:, :2] < BORDER, boxes[:, 2:] > np.array([width, height]) - BORDER], axis=1)
    return library.Detections(
        xyxy=boxes,
        confidence=found.scores.double().numpy(),
        class_id=found.labels.numpy(),
        data={"row": np.arange(first, first + len(found)), "ends": ends},
    )


def _without_pieces(library: Any, whole: Any, moved: Any, tiles: Tiles, size: tuple[int, int]) -> Any:
    """Boxes of the picture of `size` (height, width) and of its tiles, each object once."""
    if len(whole):
        whole.data["ends"][:] = False
    every = library.Detections.merge([whole, moved])
    if not len(every):
        return every
    limits = np.array([size[1], size[0]]) - BORDER
    inside = np.concatenate([every.xyxy[:, :2] >= BORDER, every.xyxy[:, 2:] <= limits], axis=1)
    piece = (every.data["ends"] & inside).any(axis=1)
    entire = every[~piece].with_nms(threshold=tiles.iou, overlap_metric=library.OverlapMetric.IOU)
    pieces = every[piece]
    pieces.confidence = pieces.confidence - 2  # whole boxes come first, whatever their scores
    both = library.Detections.merge([entire, pieces])
    left = both.with_nms(threshold=tiles.covered, overlap_metric=library.OverlapMetric.IOS)
    left = left[left.confidence < 0]
    left.confidence = left.confidence + 2
    return library.Detections.merge([entire, left])


def _chosen(parts: Sequence[Found], kept: Any) -> Found:
    """The rows of all parts that were kept, best first, at the boxes that the library moved."""
    whole = parts[0]
    order = np.argsort(-kept.confidence, kind="stable")
    rows = torch.from_numpy(np.asarray(kept.data["row"])[order]).long() if len(kept) else torch.zeros(0).long()
    detections = Detections(
        boxes=torch.from_numpy(kept.xyxy[order]).to(whole.boxes.dtype),
        scores=torch.cat([part.scores for part in parts])[rows],
        labels=torch.cat([part.labels for part in parts])[rows],
        image_size=whole.image_size,
        vocabulary=whole.vocabulary,
    )
    if isinstance(whole, Segments):
        return Segments(detections, torch.cat([part.cells for part in parts])[rows])
    return detections
