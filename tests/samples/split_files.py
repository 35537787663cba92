"""Small files of every standard kind about the images of `coco_file.good()`, good as they are; tests change a copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coco_file import good

from glipv2.data.coco_split import CocoSplit

A, B, C = 7, 3, 2**40  # ids of the images a.png, deep/b.png and c.png


def captions() -> dict[str, Any]:
    """Two sentences about a.png, one about deep/b.png."""
    rows = [(1, A, "A dog runs."), (2, B, "Nothing to see"), (3, A, "a dog on grass ")]
    records = [{"id": one, "image_id": image, "caption": text} for one, image, text in rows]
    return {"images": good()["images"], "annotations": records}


def questions() -> dict[str, Any]:
    """Two about a.png, one about c.png."""
    rows = [(11, A, "Is there a dog?"), (12, C, "How many cups?"), (13, A, "Which side is it on?")]
    return {"questions": [{"question_id": one, "image_id": image, "question": text} for one, image, text in rows]}


def answers() -> dict[str, Any]:
    """Ten each."""
    said = {11: (A, ["yes"] * 9 + ["no"], "yes/no"), 12: (C, ["Two"] * 6 + ["2"] * 4, "number")}
    said[13] = (A, ["left"] * 10, "other")
    return {
        "annotations": [
            {
                "question_id": one,
                "image_id": image,
                "question_type": "a type",
                "answer_type": kind,
                "multiple_choice_answer": own[0],
                "answers": [{"answer_id": place, "answer": answer} for place, answer in enumerate(own, start=1)],
            }
            for one, (image, own, kind) in said.items()
        ]
    }


def grounding() -> dict[str, Any]:
    """One caption about a.png with one box, which is not among the instances."""
    image = {**good()["images"][0], "id": 1, "original_img_id": A, "caption": "A dog runs."}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 4, 5], "tokens_positive": [[0, 5]]}
    return {"images": [image], "annotations": [box]}


def split(folder: Path, **contents: Any) -> CocoSplit:
    """The files of a split, written out; give None to leave one out."""
    every = {
        "annotations": good(), "captions": captions(), "questions": questions(), "answers": answers(),
        "grounding": grounding(), **contents,
    }  # fmt: skip
    paths = {key: folder / f"{key}.json" for key, content in every.items() if content is not None}
    for key, path in paths.items():
        path.write_text(every[key] if isinstance(every[key], str) else json.dumps(every[key]))
    return CocoSplit(images=str(folder / "images"), **{key: str(path) for key, path in paths.items()})
