"""Small files in the layouts that protocols read, and weights that find something in any picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from glipv2.checkpoints import record_of, save_weights
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.heads.selection import SelectionConfig
from glipv2.structures import Vocabulary
from glipv2.tasks.detection import DetectionConfig

NAMES = ("dog", "red circle", "cup", "bow_(weapon)", "tree")
SIZES = ((64, 48), (48, 64), (64, 48), (80, 40), (64, 64))  # width, height: several padded sizes
BOXES = ((2, 3, 30, 20), (10, 20, 16, 16), (25, 5, 10, 30))  # left, top, width, height


def write_weights(path: Path, model: ModelConfig) -> Path:
    """A seeded untrained detector whose threshold lets everything pass."""
    torch.manual_seed(0)
    config = DetectionConfig(selection=SelectionConfig(min_probability=0.0))
    task = config.build(model, LossConfig.grounding_only())
    save_weights(path, task.state_dict(), record_of(model, config, Vocabulary(NAMES)))
    return path


def write_images(folder: Path) -> Path:
    """Five pictures of noise, 1.png to 5.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(SIZES, start=1):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def coco(names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Boxes of several names in every picture."""
    images = [
        {"id": number, "file_name": f"{number}.png", "width": width, "height": height}
        for number, (width, height) in enumerate(SIZES, start=1)
    ]
    pairs = [(image, place) for image in range(1, 6) for place in range(3)]
    annotations: list[dict[str, Any]] = [
        {"id": number, "image_id": image, "category_id": 1 + (image + place) % len(names), "bbox": list(BOXES[place])}
        for number, (image, place) in enumerate(pairs, start=1)
    ]
    for record in annotations:
        record["area"] = record["bbox"][2] * record["bbox"][3]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def lvis() -> dict[str, Any]:
    """The same as an LVIS v1 file: no file names, judgements, frequencies."""
    content = coco()
    for record in content["images"]:
        record["coco_url"] = f"http://images.cocodataset.org/val2017/{record.pop('file_name')}"
        present = {own["category_id"] for own in content["annotations"] if own["image_id"] == record["id"]}
        record["neg_category_ids"] = sorted(set(range(1, 6)) - present)[:1]
        record["not_exhaustive_category_ids"] = sorted(present)[:1] if record["id"] == 2 else []
    for record, frequency in zip(content["categories"], "rccff", strict=True):
        record["frequency"] = frequency
    return content


def mdetr() -> dict[str, Any]:
    """Two captions of the first picture, one of the second."""
    images = [
        {"id": 11, "file_name": "1.png", "width": 64, "height": 48, "caption": "A dog and a red cup.",
         "original_img_id": 501, "tokens_positive_eval": [[[0, 5]], [[10, 19]]]},
        {"id": 12, "file_name": "1.png", "width": 64, "height": 48, "caption": "Two dogs.", "original_img_id": 501},
        {"id": 13, "file_name": "2.png", "width": 48, "height": 64, "caption": "The tree", "original_img_id": 502},
    ]  # fmt: skip
    annotations = [
        {"id": 1, "image_id": 11, "category_id": 1, "bbox": [2, 3, 30, 20], "tokens_positive": [[0, 5]], "area": 600},
        {"id": 2, "image_id": 11, "category_id": 1, "bbox": [10, 20, 16, 16], "tokens_positive": [[10, 19]]},
        {"id": 3, "image_id": 12, "category_id": 1, "bbox": [2, 3, 30, 20], "tokens_positive": [[0, 8]]},
        {"id": 4, "image_id": 12, "category_id": 1, "bbox": [25, 5, 10, 30], "tokens_positive": [[0, 8]]},
        {"id": 5, "image_id": 13, "category_id": 1, "bbox": [5, 5, 20, 40], "tokens": [[4, 8]]},
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def write_flickr(root: Path) -> Path:
    """Two pictures with two sentences each; chains of one box and of two, a scene without, and chain 0."""
    sentences = {
        1: "[/EN#7/animals A dog] and [/EN#8/people/other two men] in [/EN#9/scene a park] .\n"
        "[/EN#0/notvisual It] shows [/EN#7/animals a brown dog] .\n",
        2: "[/EN#21/other A tree] .\nNothing is marked here .\n",
    }
    boxes = {1: {"7": [(3, 4, 30, 20)], "8": [(10, 20, 26, 36), (30, 5, 40, 35)]}, 2: {"21": [(5, 5, 25, 45)]}}
    for number, text in sentences.items():
        width, height = SIZES[number - 1]
        objects = "".join(
            f"<object><name>{chain}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
            "</bndbox></object>"
            for chain, rows in boxes[number].items()
            for a, b, c, d in rows
        )
        scene = "<object><name>9</name><scene>1</scene><nobndbox>0</nobndbox></object>"
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        xml = f"<annotation><filename>{number}.png</filename>{size}{objects}{scene}</annotation>"
        _write(root / "Annotations" / f"{number}.xml", xml)
        _write(root / "Sentences" / f"{number}.txt", text)
    _write(root / "test.txt", "1\n2\n")
    return root


AQUARIUM = """
DATASETS:
  GENERAL_COPY: 16
  OVERRIDE_CATEGORY: '[{"id": 1, "name": "fish"}, {"id": 2, "name": "stingray"}]'
  CAPTION_PROMPT: '[{"prefix": " ", "name": "fish", "suffix": ""}, {"prefix": "", "name": "stingray", "suffix": " which is flat"},]'
  REGISTER:
    test: {ann_file: odinw/Aquarium/v2/test/boxes.json, img_dir: odinw/Aquarium/v2/test}
    val: {ann_file: odinw/Aquarium/v2/valid/boxes.json, img_dir: odinw/Aquarium/v2/valid}
  TEST: ("val",)
MODEL: {DYHEAD: {NUM_CLASSES: 3}}
"""  # noqa: E501
PISTOLS = """
DATASETS:
  REGISTER:
    minival: {ann_file: odinw/pistols/export/boxes.json, img_dir: odinw/pistols/export}
  TEST: ["minival"]
"""


def write_odinw(folder: Path) -> tuple[Path, Path]:
    """The folder of YAML files and the root, for two data sets; the first's own names are others."""
    configs, root = folder / "configs", folder / "DATASET"
    _write(configs / "Aquarium_v2.yaml", AQUARIUM)
    _write(configs / "pistols_export.yaml", PISTOLS)
    for place, names in (("Aquarium/v2/valid", ("x1", "x2")), ("pistols/export", ("pistol",))):
        write_images(root / "odinw" / place)
        _write(root / "odinw" / place / "boxes.json", json.dumps(coco(names)))
    return configs, root


@dataclass(frozen=True)
class Place:
    """Weights, pictures (below images/val2017 too) and one file of every layout."""

    folder: Path
    weights: Path

    def write(self, name: str, content: Any) -> Path:
        """A JSON file."""
        return _write(self.folder / name, json.dumps(content))


def make_place(folder: Path, model: ModelConfig) -> Place:
    """Everything that the protocols read."""
    write_images(folder / "images")
    write_images(folder / "images" / "val2017")
    place = Place(folder, write_weights(folder / "weights.safetensors", model))
    for name, content in (("coco.json", coco()), ("lvis.json", lvis()), ("mdetr.json", mdetr())):
        place.write(name, content)
    write_flickr(folder / "flickr")
    write_odinw(folder)
    return place


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path
