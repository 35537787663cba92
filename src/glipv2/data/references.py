"""Referring expressions, a JSON line each: an expression, the one box that it means, and the number of its image.

{"ref_id": 1, "image_id": 5802, "ann_id": 505752, "expression": "the left person", "bbox": [15, 73, 276, 398]}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glipv2.data.faults import PLACE, Faults, read_lines
from glipv2.data.image_ids import number_of
from glipv2.data.images import SUFFIXES, image_size
from glipv2.data.mdetr import MdetrDataset
from glipv2.errors import UserError


class ReferencesDataset(MdetrDataset):
    """Images with their expressions as captions, each of one phrase: all of it. `bbox` is left, top, width, height.

    An image is the file of the folder whose name ends with its number; its size is that of the picture's header.
    Faults as in `MdetrDataset`, by line.
    """

    def _content(self, faults: Faults) -> dict[str, list[Any]]:
        files: dict[int | None, list[Path]] = {}
        for path in sorted(self.folder.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                files.setdefault(number_of(path.name), []).append(path)
        files.pop(None, None)  # else a line of the number null would mean them
        sizes: dict[Path, tuple[int, int]] = {}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, text in read_lines(self.path, "referring expressions"):
            place = f"line {number}"
            try:
                line = json.loads(text)
                paths = files.get(line["image_id"], [])
                expression, bbox = line["expression"], line["bbox"]
            except (ValueError, RecursionError, TypeError, KeyError) as error:
                faults.add("malformed record", place, f"is no object with image_id, expression and bbox ({error!r})")
                continue
            if len(paths) != 1:
                told = f"{' and '.join(path.name for path in paths[:2])} have" if paths else "no file has"
                detail = f"in {self.folder} {told} the number {line['image_id']!r} at the end of the name"
                faults.add("duplicate image" if paths else "missing image file", place, detail)
                continue
            (path,) = paths
            try:
                height, width = sizes[path] = sizes.get(path) or image_size(path)
            except UserError as error:
                faults.add("unreadable image", place, str(error))
                continue
            record = {PLACE: place, "id": number, "file_name": path.name, "height": height, "width": width}
            images.append({**record, "caption": expression, "original_img_id": line["image_id"]})
            end = len(expression) if isinstance(expression, str) else 0
            annotations.append({PLACE: place, "image_id": number, "bbox": bbox, "tokens_positive": [[0, end]]})
        return {"images": images, "annotations": annotations}
