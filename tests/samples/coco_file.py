"""A small COCO file, good as it is; tests change a copy of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glipv2.data.coco import CocoDataset
from glipv2.errors import UserError

WIDTH, HEIGHT = 40, 30
TRIANGLE = [[5.0, 5.0, 25.0, 5.0, 5.0, 20.0]]


def good() -> dict[str, Any]:
    """Two images with three annotations, listed out of order, and one image without any."""
    box = {"area": 77.5, "iscrowd": 0, "segmentation": TRIANGLE}
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
            {"id": 3, "file_name": "deep/b.png", "width": WIDTH, "height": HEIGHT},
            {"id": 2**40, "file_name": "c.png", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 90, "bbox": [1, 2, 10, 20], **box},
            {"id": 2, "image_id": 7, "category_id": 2**32 + 1, "bbox": [5, 5, 20, 15], **box},
            {"id": 3, "image_id": 3, "category_id": 2**32 + 1, "bbox": [0.5, 0.25, 4, 8]},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 2**32 + 1, "name": "red circle"}],
    }


def opened(folder: Path, content: Any, **options: Any) -> CocoDataset:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "instances.json").write_text(text)
    return CocoDataset(folder / "instances.json", str(folder / "images"), **options)


def refusal(folder: Path, content: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened(folder, content, **options)
    message = str(caught.value)
    assert str(folder / "instances.json") in message.splitlines()[0]
    return message
