"""Masks as COCO's run lengths: small enough to keep for a whole data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from faster_coco_eval.core import mask as coco_mask
from torch import Tensor

from glipv2.errors import UserError

RunLengths = Mapping[str, Any]  # {"size": [height, width], "counts": str, bytes, or a list as crowds have}


def run_lengths(masks: Tensor) -> list[RunLengths]:
    """Compressed run lengths of masks bool [N, H, W]."""
    return [coco_mask.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8))) for mask in masks]


def polygon_run_lengths(polygons: Sequence[Sequence[float]], image_size: tuple[int, int]) -> RunLengths:
    """Polygons [x, y, x, y, …] as COCO's own library draws them, in an image of (height, width), as one mask."""
    merged: RunLengths = coco_mask.merge(coco_mask.frPyObjects([list(polygon) for polygon in polygons], *image_size))
    return merged


def bitmap(mask: RunLengths) -> Tensor:
    """Mask bool [H, W] of run lengths."""
    return torch.from_numpy(np.ascontiguousarray(coco_mask.decode(compressed(mask)))).bool()


def compressed(mask: RunLengths) -> dict[str, Any]:
    """The same with counts as bytes; UserError where these are no run lengths."""
    try:
        (height, width), counts = mask["size"], mask["counts"]
        if isinstance(counts, list):
            counts = coco_mask.frPyObjects(dict(mask), height, width)["counts"]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"expected run lengths with 'size' (height, width) and 'counts', but got {str(mask)[:60]} ({error!r})"
        ) from None
    return {"size": [int(height), int(width)], "counts": counts.encode() if isinstance(counts, str) else bytes(counts)}
