"""ODVG: SPLIT.jsonl, for classes with label_map.json. Crowds are left out, because a line has no word for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from glipv2.data.odvg import LABEL_MAP
from glipv2.data.writers.captions import caption_rows, lose_unnamed
from glipv2.data.writers.numbers import plain
from glipv2.data.writers.parts import Written, as_json
from glipv2.errors import UserError
from glipv2.structures import Caption, ImageTruth


def write_odvg_detection(written: Written) -> None:
    """A line an image; labels are the ids of the categories."""
    vocabulary = written.samples.vocabulary
    names = dict(zip(map(str, vocabulary.category_ids), vocabulary.names, strict=True))
    text, path = as_json(names) + "\n", written.out / LABEL_MAP
    if path.is_file() and path.read_text("utf-8") != text:
        raise UserError(f"the splits have different categories, but lines share one {LABEL_MAP}; convert each alone")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    written.write(f"{written.split}.jsonl", (as_json(_detection(truth, written)) + "\n" for truth in written.truths()))
    written.lose_image_ids()


def write_odvg_grounding(written: Written) -> None:
    """A line a caption."""
    written.write(f"{written.split}.jsonl", (as_json(line) + "\n" for line in _captions(written)))
    written.lose_image_ids()


def _head(truth: ImageTruth) -> dict[str, Any]:
    height, width = truth.image_size
    return {"filename": truth.name, "height": height, "width": width}


def _detection(truth: ImageTruth, written: Written) -> dict[str, Any]:
    vocabulary = written.samples.vocabulary
    written.lost["crowd regions (left out)"] += int(truth.is_crowd.sum())
    written.lose_areas_and_masks(truth)
    rows = zip(truth.boxes.tolist(), truth.labels.tolist(), truth.is_crowd.tolist(), strict=True)
    instances = [
        {
            "bbox": list(map(plain, corners)),
            "label": vocabulary.category_ids[label],
            "category": vocabulary.names[label],
        }
        for corners, label, is_crowd in rows
        if not is_crowd
    ]
    return {**_head(truth), "detection": {"instances": instances}}


def _captions(written: Written) -> Iterator[dict[str, Any]]:
    for truth in written.truths():
        lose_unnamed(truth, written)
        written.lose_areas_and_masks(truth)
        written.lost["crowd regions (left out)"] += int(truth.is_crowd.sum())
        for caption in truth.captions:
            yield {**_head(truth), "grounding": _grounding(truth, caption, written)}


def _grounding(truth: ImageTruth, caption: Caption, written: Written) -> dict[str, Any]:
    rows = caption_rows(truth, caption, written, with_crowds=False)
    boxes = truth.boxes.tolist()
    different = {tuple(boxes[one]) for one in rows.spans_of}
    written.lost["boxes of the same place (one of them kept)"] += len(rows.spans_of) - len(different)
    regions = [
        {
            "bbox": list(map(plain, boxes[one])),
            "phrase": " ".join(caption.text[begin:end] for begin, end in spans),
            "tokens_positive": list(map(list, spans)),
        }
        for spans, instances in rows.phrases
        for one in instances
    ]
    return {"caption": caption.text, "regions": regions}
