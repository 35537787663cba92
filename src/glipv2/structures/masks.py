"""Mask arithmetic: masks of boxes, masks of images, and COCO's run lengths."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

RunLengths = dict[str, Any]
PIXELS_AT_ONCE = 2**24  # of pasted masks in float, so that hundreds of masks of a photograph fit in memory


def crop_masks(masks: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Masks (bool or float) [K, H, W] of whole images to their shares of the `size`² cells of boxes [K, 4].

    Float [K, size, size], by RoIAlign. Boxes in the masks' pixels; all 0 for a box without area.
    """
    own = torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype)[:, None]
    rois = torch.cat([own, boxes], dim=1)
    cells: Tensor = torchvision.ops.roi_align(masks[:, None].to(boxes.dtype), rois, size, aligned=True)
    return cells[:, 0].clamp(0, 1)  # sums of weights miss 1 by a rounding error


def paste_masks(cells: Tensor, boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Values [K, S, S] on the cells of boxes [K, 4] to the pixels of the image, float [K, H, W].

    Bilinear between the centres of cells and level outside them: a pixel has a value where its centre
    lies in the box, 0 elsewhere, so that a full box fills exactly its pixels. The inverse of
    `crop_masks`, up to the coarseness of the cells.
    """
    size = cells.shape[-1]
    rows = _cell_weights(boxes[:, 1], boxes[:, 3], image_size[0], size)
    columns = _cell_weights(boxes[:, 0], boxes[:, 2], image_size[1], size)
    return rows @ cells @ columns.transpose(1, 2)


def pasted_above(cells: Tensor, boxes: Tensor, image_size: tuple[int, int], threshold: float) -> Tensor:
    """Where `paste_masks` gives at least `threshold` (above 0), bool [K, H, W], in little memory."""
    portion = max(1, PIXELS_AT_ONCE // max(1, image_size[0] * image_size[1]))
    parts = [
        paste_masks(some, at, image_size) >= threshold
        for some, at in zip(cells.split(portion), boxes.split(portion), strict=True)
    ]
    return torch.cat(parts)


def pasted_run_lengths(cells: Tensor, boxes: Tensor, image_size: tuple[int, int], threshold: float) -> list[RunLengths]:
    """The same as COCO's compressed run lengths, {"size": [height, width], "counts": text}, without whole masks."""
    height, width = image_size
    rows = _cell_weights(boxes[:, 1], boxes[:, 3], height, cells.shape[-1])
    columns = _cell_weights(boxes[:, 0], boxes[:, 2], width, cells.shape[-1])
    starts, counts = columns.any(dim=2).int().argmax(dim=1).tolist(), columns.any(dim=2).sum(dim=1).tolist()
    runs = []
    for cell, tall, wide, start, count in zip(cells, rows, columns, starts, counts, strict=True):
        mask = (tall @ cell @ wide[start : start + count].T >= threshold).T.flatten()  # COCO goes down the columns
        padded = F.pad(mask, (1, 1))
        turns = (padded[1:] != padded[:-1]).nonzero()[:, 0] + start * height
        bounds = F.pad(turns[turns < height * width], (1, 1))
        bounds[-1] = height * width
        runs.append(bounds.diff())
    return [{"size": [height, width], "counts": text} for text in _run_texts(runs)]


def _cell_weights(low: Tensor, high: Tensor, length: int, size: int) -> Tensor:
    """How much of each of the `size` cells between low [K] and high [K] each of `length` pixels takes, [K, H, S]."""
    centers = torch.arange(length, device=low.device, dtype=low.dtype) + 0.5
    low, high = low[:, None], high[:, None]
    place = (centers - low) / (high - low).clamp(min=1e-6) * size - 0.5
    cells = torch.arange(size, device=low.device, dtype=low.dtype)
    weights = 1 - (place.clamp(0, size - 1)[..., None] - cells).abs()
    inside = (centers >= low) & (centers < high)
    return weights.clamp(min=0) * inside[..., None]


def _run_texts(runs: list[Tensor]) -> list[str]:
    """COCO's text of each mask's run lengths int64 [M]: from the fourth on a run is told relative to the last but one.

    Five bits a letter, lowest first; 32 marks that more follow, 16 in the last one that the number is negative.
    """
    numbers = torch.cat([torch.cat([run[:3], run[3:] - run[1:-2]]) for run in runs] or [torch.zeros(0).long()])
    codes, needed, more = [], [], torch.ones_like(numbers, dtype=torch.bool)
    while bool(more.any()):
        needed.append(more)
        code = numbers & 31
        numbers = numbers >> 5
        more = more & torch.where(code & 16 > 0, numbers != -1, numbers != 0)
        codes.append(code + 32 * more + 48)
    if not codes:
        return []
    kept = torch.stack(needed, dim=1)
    text = bytes(torch.stack(codes, dim=1)[kept].tolist()).decode("ascii")
    letters = torch.stack([part.sum() for part in kept.split([len(run) for run in runs])])
    pairs = zip(letters.tolist(), letters.cumsum(0).tolist(), strict=True)
    return [text[end - length : end] for length, end in pairs]
