"""Boxes and names on a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    Drawable = Image | str | Path | Tensor  # what `Predictor.detect` takes

OPACITY = 115  # of 255: what lies under a mask stays visible
GOLDEN_RATIO = 0.618034  # steps of it around the colour wheel keep neighbouring labels apart


def label_color(label: int) -> tuple[int, int, int]:
    """The same vivid RGB colour for a label in every picture."""
    red, green, blue = colorsys.hsv_to_rgb((0.03 + label * GOLDEN_RATIO) % 1.0, 0.75, 0.95)
    return int(red * 255), int(green * 255), int(blue * 255)


def picture_of(image: Drawable) -> Image:
    """An RGB copy of a picture, of a file upright, or of a uint8 tensor [3, H, W]."""
    from PIL import Image, ImageOps

    if isinstance(image, Tensor):
        return Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    if isinstance(image, (str, Path)):
        with Image.open(image) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    return image.convert("RGB")


def draw_boxes(
    image: Drawable, boxes: Sequence[Sequence[float]], captions: Sequence[str], labels: Sequence[int]
) -> Image:
    """A copy of `image` with each box (xyxy pixels) outlined in its label's colour and captioned."""
    from PIL import ImageDraw, ImageFont

    picture = picture_of(image)
    pen = ImageDraw.Draw(picture)
    line = max(1, round(min(picture.size) / 250))
    font = ImageFont.load_default(size=max(11, round(min(picture.size) / 28)))
    for box, caption, label in zip(boxes, captions, labels, strict=True):
        color = label_color(label)
        corners = (box[0], box[1], max(box[0], box[2]), max(box[1], box[3]))
        pen.rectangle(corners, outline=color, width=line)
        _, _, width, height = pen.textbbox((0, 0), caption, font=font)
        top = corners[1] - height - 2 if corners[1] >= height + 2 else corners[1]
        left = max(0.0, min(corners[0], picture.width - width - 2))
        pen.rectangle((left, top, left + width + 2, top + height + 2), fill=color)
        pen.text((left + 1, top), caption, fill="black", font=font)
    return picture


def draw_masks(image: Drawable, masks: Tensor, labels: Sequence[int]) -> Image:
    """A copy of `image` with masks bool [K, H, W] of its size in their labels' colours, the first on top."""
    from PIL import Image as Images

    picture = picture_of(image)
    for mask, label in reversed(list(zip(masks, labels, strict=True))):
        picture.paste(label_color(label), mask=Images.fromarray((mask * OPACITY).to(torch.uint8).cpu().numpy()))
    return picture


def draw_lines(image: Image, lines: Sequence[str]) -> Image:
    """A copy of `image` with lines of text on a strip below it, broken where they are wider than the image."""
    from PIL import Image as Images
    from PIL import ImageDraw, ImageFont

    size = max(11, round(min(image.size) / 24))
    font = ImageFont.load_default(size=size)
    rows = [row for line in lines for row in _broken(line, image.width - 8, font.getlength)]
    picture = Images.new("RGB", (image.width, image.height + len(rows) * (size + 4) + (6 if rows else 0)), "white")
    picture.paste(image.convert("RGB"), (0, 0))
    pen = ImageDraw.Draw(picture)
    for index, row in enumerate(rows):
        pen.text((4, image.height + 2 + index * (size + 4)), row, fill="black", font=font)
    return picture


def _broken(line: str, width: float, length: Callable[[str], float]) -> list[str]:
    """The words of a line in rows that fit; a word that is wider alone has its own."""
    rows: list[str] = []
    for word in line.split():
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and length(longer) <= width:
            rows[-1] = longer
        else:
            rows.append(word)
    return rows
