"""Draws the pictures of the documentation: what each task is about, with the annotations of scenes of shapes.

python scripts/task_pictures.py docs/pictures
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms.v2.functional import to_pil_image

from glipv2.data.shapes import ShapesDataset
from glipv2.data.transforms import truth_of
from glipv2.report.gallery import contact_sheet, panels
from glipv2.structures import Detections, ImageTruth, Prediction, Segments, Vocabulary
from glipv2.structures.grounded import Answers, GroundedCaptions, GroundedText, ImageCaption

SCENES = 3  # beside each other in a picture
SIDE = 256  # pixels of a scene: it is made at this size, not enlarged
LOOKED_AT = 150  # validation scenes, of which those with calm backgrounds are taken: they make small files
OBJECTS = (3, 4)  # more would hide each other's names
BITS = 4  # a channel


def main(folder: Path) -> None:
    """One PNG a task, and one of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = ShapesDataset("val", LOOKED_AT, image_size=SIDE)
    some = [scenes[index] for index in range(LOOKED_AT)]
    some = [sample for sample in some if len(sample.instances) in OBJECTS]
    samples = sorted(some, key=lambda sample: len(as_png(calm(to_pil_image(sample.image)))))[:SCENES]
    rows = []
    for task, nothing in nothing_found((SIDE, SIDE), scenes.vocabulary).items():
        drawn = [truth_drawn(nothing, truth_of(sample), calm(to_pil_image(sample.image))) for sample in samples]
        write(contact_sheet(drawn, SCENES), folder / f"{task}.png")
        rows.append(drawn[0])
    write(contact_sheet(rows, SCENES), folder / "joint.png")


def nothing_found(image_size: tuple[int, int], vocabulary: Vocabulary) -> dict[str, Prediction]:
    """A prediction of each task without anything in it: the gallery draws the truth of its kind beside it."""
    boxes, scores, labels = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    objects = Detections(boxes, scores, labels, image_size, vocabulary)
    return {
        "detection": objects,
        "instance_segmentation": Segments(objects, torch.zeros(0, 28, 28)),
        "phrase_grounding": GroundedCaptions(image_size, ()),
        "vqa": Answers(image_size, ()),
        "captioning": ImageCaption(image_size, GroundedText("", (), boxes, scores, labels), 0.0),
    }


def truth_drawn(nothing: Prediction, truth: ImageTruth, picture: Image.Image) -> Image.Image:
    """The left panel of the gallery."""
    return panels(nothing, truth, picture, 0.0)[0]


def calm(picture: Image.Image) -> Image.Image:
    """Without grain, which neither PNG nor readers can use."""
    return ImageOps.posterize(picture.filter(ImageFilter.MedianFilter(5)), BITS)


def as_png(picture: Image.Image) -> bytes:
    """The file's content."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def write(picture: Image.Image, path: Path) -> None:
    """As a PNG."""
    content = as_png(picture)
    path.write_bytes(content)
    print(f"{path}: {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
