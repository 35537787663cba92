"""Box arithmetic. Boxes are float `[..., 4]`, xyxy, absolute pixels, unless a name says otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor

MAX_LOG_SCALE = math.log(1000.0 / 16)  # the released coder's bound on dw and dh before exp
DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """COCO's (left, top, width, height) to corners."""
    return torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], dim=-1)


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Corners to COCO's (left, top, width, height)."""
    return torch.cat([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], dim=-1)


def box_centers(boxes: Tensor) -> Tensor:
    """Centre points (x, y), `[..., 2]`."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def scale_boxes(boxes: Tensor, from_size: tuple[int, int], to_size: tuple[int, int]) -> Tensor:
    """Boxes of an image of `from_size` (height, width) in the same image resized to `to_size`."""
    factor = boxes.new_tensor([to_size[1] / from_size[1], to_size[0] / from_size[0]]).repeat(2)
    return boxes * factor


def generalized_iou(first: Tensor, second: Tensor, epsilon: float = 1e-7) -> Tensor:
    """GIoU of matching rows, `[...]` in [-1, 1]; areas without the inclusive pixel, as in the released loss."""
    overlap = _overlap(first, second, 0.0)
    union = _area(first, 0.0) + _area(second, 0.0) - overlap
    low = torch.minimum(first[..., :2], second[..., :2])
    high = torch.maximum(first[..., 2:], second[..., 2:])
    hull = (high - low).clamp(min=0).prod(dim=-1)
    return overlap / (union + epsilon) - (hull - union) / (hull + epsilon)


def _area(boxes: Tensor, end: float) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2] + end).prod(dim=-1)


def _overlap(first: Tensor, second: Tensor, end: float) -> Tensor:
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    return (high - low + end).clamp(min=0).prod(dim=-1)


@dataclass(frozen=True)
class BoxConvention:
    """What a box's second corner means: the one place where the released code's "+1" lives.

    `inclusive=False` (the default): corners are continuous coordinates, width = x2 - x1.
    `inclusive=True`: corners name pixels, width = x2 - x1 + 1, as in every box operation of the
    released GLIP code (anchors, coder, IoU, clipping, suppression). Imported weights need it.
    `last_pixels=True`: the far corner names the last pixel of an object, counted in the image's own pixels: what the
    released weights were taught (x2 = x + width - 1), and what their evaluation takes back (width = x2 - x1 + 1).
    Everywhere outside of the model corners are continuous; `entering` and `leaving` are the doors.
    """

    inclusive: bool = False
    last_pixels: bool = False

    @property
    def end(self) -> float:
        """What a length adds to the difference of its corners."""
        return 1.0 if self.inclusive else 0.0

    def entering(self, boxes: Tensor, pixel: Tensor | None) -> Tensor:
        """Continuous boxes [B, N, 4] of the model-input frame as the model is to learn them.

        pixel: float [B, 2], width and height there of a pixel of each image as it was read; None = 1.
        """
        if not self.last_pixels:
            return boxes
        step = boxes.new_ones(len(boxes), 2) if pixel is None else pixel.to(boxes)
        far = torch.maximum(boxes[..., 2:] - step[:, None], boxes[..., :2])
        return torch.cat([boxes[..., :2], far], dim=-1)

    def leaving(self, boxes: Tensor, from_size: tuple[int, int], to_size: tuple[int, int]) -> Tensor:
        """The model's boxes, found in an image resized to `from_size`, as continuous ones of its own `to_size`."""
        own = scale_boxes(boxes, from_size, to_size)
        return own + own.new_tensor([0.0, 0.0, 1.0, 1.0]) if self.last_pixels else own

    def cell_anchor(self, size: float, stride: float) -> tuple[float, float, float, float]:
        """The square anchor of the first grid cell."""
        center = (stride - self.end) / 2
        half = (size - self.end) / 2
        return (center - half, center - half, center + half, center + half)

    def iou(self, first: Tensor, second: Tensor) -> Tensor:
        """IoU with broadcasting over the leading axes, `[...]` in [0, 1]."""
        overlap = _overlap(first, second, self.end)
        union = _area(first, self.end) + _area(second, self.end) - overlap
        return overlap / union.clamp(min=1e-12)

    def encode(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Deltas `[..., 4]` that turn `anchors` into `boxes`, weighted (10, 10, 5, 5)."""
        anchor_size = anchors[..., 2:] - anchors[..., :2] + self.end
        box_size = boxes[..., 2:] - boxes[..., :2] + self.end
        shift = (box_centers(boxes) - box_centers(anchors)) / anchor_size
        stretch = torch.log(box_size / anchor_size)
        return torch.cat([shift, stretch], dim=-1) * boxes.new_tensor(DELTA_WEIGHTS)

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Boxes `[..., 4]` from deltas; the inverse of `encode` up to the bound on growth."""
        weighted = deltas / deltas.new_tensor(DELTA_WEIGHTS)
        anchor_size = anchors[..., 2:] - anchors[..., :2] + self.end
        centers = weighted[..., :2] * anchor_size + box_centers(anchors)
        sizes = weighted[..., 2:].clamp(max=MAX_LOG_SCALE).exp() * anchor_size
        half = (sizes - self.end) / 2
        return torch.cat([centers - half, centers + half], dim=-1)

    def clip(self, boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Boxes cut to an image of `image_size` (height, width)."""
        height, width = image_size
        limit = boxes.new_tensor([width, height, width, height]) - self.end
        return torch.minimum(boxes.clamp(min=0), limit)

    def suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
        """Indices kept by non-maximum suppression within each label, best score first.

        A box falls when its IoU with a better one of its label is strictly above `threshold`.
        """
        if not len(boxes):
            return torch.empty(0, dtype=torch.int64, device=boxes.device)
        corners = boxes if boxes.dtype == torch.float64 else boxes.float()
        if self.inclusive:  # growing the far corner by one makes plain areas the inclusive ones
            corners = corners + corners.new_tensor([0.0, 0.0, 1.0, 1.0])
        # the kernel compares in double precision: a float32 overlap of 0.6 must not be above 0.6
        bound = float(corners.new_tensor(threshold))
        # label by label: torchvision's batched suppression moves labels apart by large offsets, which
        # blurs float32 coordinates, and float64 does not exist on every accelerator
        order = labels.argsort(stable=True)
        sizes = labels[order].unique_consecutive(return_counts=True)[1].tolist()
        kept = torch.cat([_best_apart(rows, corners, scores, bound) for rows in order.split(sizes)]).sort().values
        return kept[scores[kept].argsort(descending=True, stable=True)]


def _best_apart(rows: Tensor, corners: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Those of `rows` (all of one label) that no better one covers."""
    if len(rows) == 1:
        return rows
    kept: Tensor = torchvision.ops.nms(corners[rows], scores[rows].to(corners.dtype), threshold)
    return rows[kept]
