"""MDETR's layout for grounded captions: SPLIT.json, an image record a caption."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from glipv2.data.writers.captions import caption_rows, lose_unnamed
from glipv2.data.writers.numbers import left_top_sides, plain
from glipv2.data.writers.parts import Written, json_lists


def write_mdetr(written: Written) -> None:
    """Captions are numbered from 1; an image's own id is its `original_img_id`."""
    lists = {
        "images": _images(written),
        "annotations": _annotations(written),
        "categories": [{"id": 1, "name": "object"}],
    }
    written.write(f"{written.split}.json", json_lists(lists))


def _images(written: Written) -> Iterator[dict[str, Any]]:
    number = 0
    for truth in written.truths():
        lose_unnamed(truth, written)
        height, width = truth.image_size
        written.lost["masks"] += 0 if truth.masks is None else len(truth.masks)
        for caption in truth.captions:
            number += 1
            rows = caption_rows(truth, caption, written, with_crowds=True)
            yield {
                "id": number, "original_img_id": truth.image_id, "file_name": truth.name,
                "height": height, "width": width, "caption": rows.text,
                "tokens_positive_eval": [list(map(list, spans)) for spans, _ in rows.phrases],
            }  # fmt: skip


def _annotations(written: Written) -> Iterator[dict[str, Any]]:
    caption_id = number = 0
    again = Written(written.samples, written.split, written.out)  # what is lost has been counted with the captions
    for truth in written.truths():
        boxes, areas, crowds = (column.tolist() for column in (truth.boxes, truth.areas, truth.is_crowd))
        for caption in truth.captions:
            caption_id += 1
            for one, spans in sorted(caption_rows(truth, caption, again, with_crowds=True).spans_of.items()):
                number += 1
                yield {
                    "id": number, "image_id": caption_id, "category_id": 1, "bbox": left_top_sides(boxes[one]),
                    "area": plain(areas[one]), "iscrowd": int(crowds[one]), "tokens_positive": list(map(list, spans)),
                }  # fmt: skip
