"""What is known of an image as a line of JSON and back, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from faster_coco_eval.core import mask as coco_mask
from torch import Tensor

from glipv2.structures import Caption, GroundedPhrase, ImageTruth, Question


def to_bytes(truth: ImageTruth) -> bytes:
    """One JSON object; numbers are as short as they can be and still give the same 32 bits, masks are run lengths."""
    record: dict[str, Any] = {
        "image_id": truth.image_id,
        "name": truth.name,
        "image_size": list(truth.image_size),
        "boxes": [_shortest(box) for box in truth.boxes],
        "labels": truth.labels.tolist(),
        "is_crowd": list(map(int, truth.is_crowd.tolist())),
        "areas": _shortest(truth.areas),
    }
    if truth.masks is not None:
        record["masks"] = [_counts(mask) for mask in truth.masks]
    if truth.captions:
        record["captions"] = [{"text": own.text, "phrases": _of_phrases(own.phrases)} for own in truth.captions]
    if truth.questions:
        record["questions"] = [_of_question(own) for own in truth.questions]
    return json.dumps(record, separators=(",", ":")).encode()


def from_bytes(line: bytes) -> ImageTruth:
    """The inverse of `to_bytes`."""
    record = json.loads(line)
    height, width = record["image_size"]
    return ImageTruth(
        image_id=record["image_id"],
        name=record["name"],
        image_size=(height, width),
        boxes=torch.tensor(record["boxes"], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(record["labels"], dtype=torch.int64),
        is_crowd=torch.tensor(record["is_crowd"], dtype=torch.bool),
        areas=torch.tensor(record["areas"], dtype=torch.float32),
        masks=_masks(record["masks"], height, width) if "masks" in record else None,
        captions=tuple(Caption(own["text"], _phrases(own["phrases"])) for own in record.get("captions", ())),
        questions=tuple(map(_question, record.get("questions", ()))),
    )


def _shortest(values: Tensor) -> list[float]:
    return [float(str(value)) for value in values.to(torch.float32).numpy()]


def _counts(mask: Tensor) -> str:
    found: bytes = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))["counts"]
    return found.decode("ascii")


def _masks(counts: Sequence[str], height: int, width: int) -> Tensor:
    masks = torch.zeros(len(counts), height, width, dtype=torch.bool)
    for place, own in enumerate(counts):
        masks[place] = torch.from_numpy(coco_mask.decode({"size": [height, width], "counts": own.encode("ascii")}))
    return masks


def _of_phrases(phrases: Sequence[GroundedPhrase]) -> list[list[Any]]:
    return [[list(map(list, own.spans)), list(own.instances), list(own.kinds)] for own in phrases]


def _phrases(records: Sequence[Sequence[Any]]) -> tuple[GroundedPhrase, ...]:
    return tuple(
        GroundedPhrase(tuple((begin, end) for begin, end in spans), tuple(instances), tuple(kinds))
        for spans, instances, kinds in records
    )


def _of_question(question: Question) -> dict[str, Any]:
    return {
        "text": question.text,
        "answers": list(question.answers),
        "phrases": _of_phrases(question.phrases),
        "kind": question.kind,
        "question_id": question.question_id,
        "answer_kind": question.answer_kind,
    }


def _question(record: Mapping[str, Any]) -> Question:
    return Question(
        record["text"],
        tuple(record["answers"]),
        _phrases(record["phrases"]),
        record["kind"],
        record["question_id"],
        record["answer_kind"],
    )
