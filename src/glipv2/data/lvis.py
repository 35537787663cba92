"""LVIS v1 files (val, minival): COCO's layout, where each image is judged for some categories only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glipv2.data.coco import CocoDataset, read_coco
from glipv2.data.faults import Faults, first_there
from glipv2.errors import UserError

FREQUENCIES = ("r", "c", "f")


@dataclass(frozen=True)
class Judgement:
    """Labels that are known to be absent of an image, and labels of which not every object is annotated."""

    negative: tuple[int, ...] = ()
    not_exhaustive: tuple[int, ...] = ()


class LvisDataset(CocoDataset):
    """Images and boxes of an LVIS file, `frequencies` ("r", "c", "f") by label and `judgements` by image id.

    An image's file is `file_name` under the folder, or the last two parts of `coco_url`
    ("val2017/000000397133.jpg"), or the last one, whichever is there. Faults as in `CocoDataset`; a category
    without a frequency, or an image judged for an unknown category, always raises UserError.
    """

    def __init__(self, annotations: Path | str, images: Path | str, *, on_error: str = "raise") -> None:
        self._judged: list[tuple[int, Any, Any]] = []
        self._frequencies: list[Any] = []
        super().__init__(annotations, images, on_error=on_error)
        self.frequencies = _frequencies(self._frequencies, self.vocabulary.names, self.path)
        label_of = {identity: label for label, identity in enumerate(self.vocabulary.category_ids)}
        self.judgements = {
            image_id: Judgement(
                self._labels(image_id, "neg_category_ids", negative, label_of),
                self._labels(image_id, "not_exhaustive_category_ids", unsure, label_of),
            )
            for image_id, negative, unsure in self._judged
        }
        del self._judged, self._frequencies

    def _content(self, faults: Faults) -> dict[str, list[Any]]:
        content = read_coco(self.path)
        lacking = [key for key in ("neg_category_ids", "not_exhaustive_category_ids") if not _have(content, key)]
        if lacking:
            raise UserError(
                f"{self.path}: its images have no {' and no '.join(lacking)}, so it is not an LVIS v1 file; "
                "score a COCO file with protocol=coco"
            )
        listings: dict[str, frozenset[str]] = {}
        content["images"] = [self._named(record, listings) for record in content["images"]]
        content["categories"] = sorted(content["categories"], key=_category_id)
        self._frequencies = [
            record.get("frequency") if isinstance(record, dict) else None for record in content["categories"]
        ]
        self._judged = [
            (record["id"], record.get("neg_category_ids"), record.get("not_exhaustive_category_ids"))
            for record in content["images"]
            if isinstance(record, dict) and isinstance(record.get("id"), int)
        ]
        return content

    def _named(self, record: Any, listings: dict[str, frozenset[str]]) -> Any:
        """The record with the file name that is there; the first that was looked for where none is."""
        if not isinstance(record, dict):
            return record
        url = record.get("coco_url")
        parts = url.split("/")[-2:] if isinstance(url, str) else []
        name = first_there((record.get("file_name"), "/".join(parts), *parts[-1:]), self.folder, listings)
        return record if name is None else {**record, "file_name": name}

    def _labels(self, image_id: int, key: str, ids: Any, label_of: dict[int, int]) -> tuple[int, ...]:
        if not isinstance(ids, list) or any(identity not in label_of for identity in ids):
            raise UserError(f"{self.path}: {key} of image {image_id} is {ids}, expected ids of its categories")
        return tuple(label_of[identity] for identity in ids)


def _have(content: dict[str, list[Any]], key: str) -> bool:
    return any(isinstance(record, dict) and key in record for record in content["images"])


def _category_id(record: Any) -> int:
    """The order of prompts is that of the ids, whatever the file's; what has none is refused later."""
    identity = record.get("id") if isinstance(record, dict) else None
    return identity if isinstance(identity, int) else -1


def _frequencies(values: Sequence[Any], names: Sequence[str], path: Path) -> tuple[str, ...]:
    for name, value in zip(names, values, strict=True):
        if value not in FREQUENCIES:
            raise UserError(f"{path}: the frequency of category '{name}' is {value!r}, expected r, c or f")
    return tuple(values)
