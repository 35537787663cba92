"""Pictures and a COCO file as somebody's annotation tool would leave them."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from glipv2.data.shapes import ShapesDataset


def write_photos(folder: Path, count: int = 6) -> Path:
    """Shape scenes as somebody's COCO file: one name, "thing"."""
    folder.mkdir(parents=True)
    scenes = ShapesDataset("val", count, image_size=64)
    images, annotations = [], []
    for index in range(count):
        sample, truth = scenes[index], scenes.truth(index)
        Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "width": 64, "height": 64})
        for x1, y1, x2, y2 in truth.boxes.tolist():
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "image_id": index, "category_id": 5}
            annotations.append({"id": len(annotations), **box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "thing"}]}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"
