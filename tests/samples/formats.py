"""Two photographs in the layouts that are read besides COCO's: good as they are; tests change a copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 40, 20


def write_pictures(folder: Path, names: tuple[str, ...] = ("7.png", "9.png")) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    return folder


def detection_lines() -> list[dict[str, Any]]:
    """Two boxes on 7.png, none on 9.png."""
    size = {"height": HEIGHT, "width": WIDTH}
    instances = [
        {"bbox": [2, 4, 12, 14], "label": 18, "category": "dog"},
        {"bbox": [0.5, 0.25, 40, 20], "label": 3, "category": "red cup"},
    ]
    return [
        {"filename": "7.png", **size, "detection": {"instances": instances}},
        {"filename": "9.png", **size, "detection": {"instances": []}},
    ]


def grounding_lines() -> list[dict[str, Any]]:
    """Two captions of 7.png, one of 9.png; a box with two phrases, a region with two boxes, one without spans."""
    size = {"height": HEIGHT, "width": WIDTH}
    first = [
        {"bbox": [2, 4, 12, 14], "phrase": "A dog", "tokens_positive": [[0, 5]]},
        {"bbox": [2, 4, 12, 14], "phrase": "a red cup", "tokens_positive": [[10, 19]]},
    ]
    second = [{"bbox": [[2, 4, 12, 14], [20, 5, 30, 15]], "phrase": "Two dogs", "tokens_positive": [[0, 8]]}]
    rows = [("7.png", "A dog and a red cup.", first), ("7.png", "Two dogs.", second)]
    rows.append(("9.png", "The treetop and the tree", [{"bbox": [1, 1, 9, 9], "phrase": "the tree"}]))
    return [
        {"filename": name, **size, "grounding": {"caption": caption, "regions": regions}}
        for name, caption, regions in rows
    ]


def write_lines(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


YOLO_LABELS = "1 0.175 0.45 0.25 0.5\n0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n"


def write_yolo(root: Path, labels: str | None = YOLO_LABELS, **changes: Any) -> Path:
    """data.yaml; in train 7.png with a box and a square polygon, and 9.png without a label file; the same in val."""
    import yaml

    for split in ("train", "val"):
        write_pictures(root / "images" / split)
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        if labels is not None:
            (root / "labels" / split / "7.txt").write_text(labels)
    content = {"train": "images/train", "val": "images/val", "nc": 2, "names": ["red cup", "dog"], **changes}
    content = {key: value for key, value in content.items() if value is not None}
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return root / "data.yaml"


VOC_OBJECT = (
    "<object><name>dog</name><difficult>0</difficult>"
    "<bndbox><xmin>3</xmin><ymin>5</ymin><xmax>12</xmax><ymax>14</ymax></bndbox></object>"
)
VOC_CROWD = (
    "<object><name>cup</name><difficult>1</difficult>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>40</xmax><ymax>20</ymax></bndbox></object>"
)
VOC_SIZE = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"


def write_voc(root: Path, objects: str = VOC_OBJECT + VOC_CROWD, size: str = VOC_SIZE) -> Path:
    """A dog and a crowd of cups on 7.png, which is train; 9.png without objects, which is val."""
    write_pictures(root / "JPEGImages")
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    for name, split, own in (("7", "train", objects), ("9", "val", "")):
        xml = f"<annotation><folder>VOC</folder><filename>{name}.png</filename>{size}{own}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(xml)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{name}\n")
    (root / "ImageSets" / "Main" / "dog_train.txt").write_text("7 1\n")
    return root
