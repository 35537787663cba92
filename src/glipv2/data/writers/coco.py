"""COCO instances: SPLIT.json. Holds everything that is known of objects; their ids are counted from 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from torch import Tensor

from glipv2.data.writers.numbers import left_top_sides, plain
from glipv2.data.writers.parts import Written, json_lists


def write_coco(written: Written) -> None:
    """Masks, where they are known, as compressed run lengths."""
    vocabulary = written.samples.vocabulary
    categories = [
        {"id": identity, "name": name} for identity, name in zip(vocabulary.category_ids, vocabulary.names, strict=True)
    ]
    lists = {"images": _images(written), "annotations": _annotations(written), "categories": categories}
    written.write(f"{written.split}.json", json_lists(lists))


def _images(written: Written) -> Iterator[dict[str, Any]]:
    for truth in written.truths():
        height, width = truth.image_size
        yield {"id": truth.image_id, "file_name": truth.name, "height": height, "width": width}


def _annotations(written: Written) -> Iterator[dict[str, Any]]:
    ids = written.samples.vocabulary.category_ids
    number = 0
    for truth in written.truths():
        rows = zip(
            *(column.tolist() for column in (truth.boxes, truth.labels, truth.is_crowd, truth.areas)), strict=True
        )
        for row, (corners, label, is_crowd, area) in enumerate(rows):
            number += 1
            record = {
                "id": number,
                "image_id": truth.image_id,
                "category_id": ids[label],
                "bbox": left_top_sides(corners),
                "area": plain(area),
                "iscrowd": int(is_crowd),
            }
            if truth.masks is not None:
                record["segmentation"] = _run_lengths(truth.masks[row])
            yield record


def _run_lengths(mask: Tensor) -> dict[str, Any]:
    height, width = mask.shape
    counts = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))["counts"]
    return {"size": [height, width], "counts": counts.decode() if isinstance(counts, bytes) else counts}
