"""Detections and objects for tests: written down, or at random on a coarse grid where scores and overlaps tie."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glipv2.metrics.run_lengths import RunLengths, run_lengths
from glipv2.structures import Detections, ImageTruth, Vocabulary

PETS = Vocabulary(("cat", "dog", "red circle"))
SIZE = (480, 640)
SQUARE, FAR = (0, 0, 100, 100), (300, 300, 400, 400)

Pairs = list[tuple[Detections, ImageTruth]]


def found(rows: Sequence[tuple[Sequence[float], float, int]], vocabulary: Vocabulary = PETS) -> Detections:
    """Detections from (xyxy, score, label)."""
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Detections(corners, torch.tensor(scores), torch.tensor(labels).long(), SIZE, vocabulary)


def truth(rows: Sequence[tuple[Sequence[float], int]], image_id: int = 1, crowd: Sequence[int] = ()) -> ImageTruth:
    """An image's objects from (xyxy, label); `crowd`: which of them are crowds."""
    boxes = torch.tensor([box for box, _ in rows], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([label for _, label in rows]).long()
    is_crowd = torch.tensor([index in crowd for index in range(len(rows))]).bool()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return ImageTruth(image_id, f"{image_id}.jpg", SIZE, boxes, labels, is_crowd, areas)


def random_pairs(seed: int, images: int = 12) -> Pairs:
    """Images (ids not in order) on a coarse grid, so that scores and overlaps tie; crowds and empty ones among them."""
    rng = torch.Generator().manual_seed(seed)

    def boxes(count: int, scale: int) -> Tensor:
        corner = torch.randint(0, 20, (count, 2), generator=rng) * 8.0
        return torch.cat([corner, corner + torch.randint(1, scale, (count, 2), generator=rng) * 8.0], dim=1)

    pairs: Pairs = []
    for index in torch.randperm(images, generator=rng).tolist():
        objects, extra = (int(torch.randint(low, 7, (), generator=rng)) - 1 for low in (0, 0))
        objects, extra = max(objects, 0), max(extra, 0)
        own, labels = boxes(objects, 18), torch.randint(0, 3, (objects,), generator=rng)
        near = own + torch.randint(-1, 2, own.shape, generator=rng) * 4.0
        every, every_label = torch.cat([near, boxes(extra, 18)]), torch.cat([labels, labels.new_ones(extra)])
        scores = torch.randint(1, 6, (len(every),), generator=rng) / 5
        order = scores.argsort(descending=True, stable=True)
        detections = Detections(every[order], scores[order], every_label[order], SIZE, PETS)
        crowd = torch.rand(objects, generator=rng) < 0.15
        areas = (own[:, 2:] - own[:, :2]).prod(dim=1) * 0.8
        pairs.append((detections, ImageTruth(index * 7 + 2, "", SIZE, own, labels, crowd, areas)))
    return pairs


def as_predictions(objects: ImageTruth, vocabulary: Vocabulary = PETS) -> Detections:
    """The truth, as if it had been predicted; crowds are not."""
    real = ~objects.is_crowd
    scores = torch.linspace(1, 0.5, int(real.sum()))
    return Detections(objects.boxes[real], scores, objects.labels[real], objects.image_size, vocabulary)


def painted(boxes: Tensor) -> list[RunLengths]:
    """Boxes of whole pixels as masks."""
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.clamp(min=0).long().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return run_lengths(masks)
