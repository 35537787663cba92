"""Pictures that set what was there beside what was found."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from glipv2.errors import UserError
from glipv2.structures import Caption, Detections, ImageTruth, Prediction, Question, Segments
from glipv2.structures.boxes import scale_boxes
from glipv2.structures.drawing import draw_boxes, draw_lines, draw_masks
from glipv2.structures.grounded import Answers, GroundedCaptions, GroundedText, ImageCaption, draw_texts

if TYPE_CHECKING:
    from torch import Tensor

HEADING_HEIGHT = 26
HEADING_SIZE = 15
PAPER, INK = (255, 255, 255), (34, 38, 44)
LONGEST_SIDE = 1280  # of a panel: photographs from a camera would make galleries of many megabytes
GAP = 8  # pixels around the pictures of a contact sheet
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def side_by_side(
    image: Tensor, truth: ImageTruth, found: Prediction, threshold: float = 0.3, min_side: int = 320
) -> Image.Image:
    """Truth on the left, predictions scored `threshold` or better on the right, each under a heading.

    image: uint8 [3, H, W], RGB. Boxes are of an image of their own `image_size`. The picture is
    enlarged until its shorter side has `min_side` pixels (and shrunk, or enlarged less, where its
    longer side would pass 1280) before boxes and names are drawn, so that lines and text stay crisp.
    The result is exactly two panels wide.
    """
    panel = _resized(Image.fromarray(image.permute(1, 2, 0).cpu().numpy()), min_side)
    left, right = panels(found.to("cpu"), truth, panel, threshold)
    return _joined(left, "truth", right, "prediction")


@singledispatch
def panels(
    found: Prediction, truth: ImageTruth, panel: Image.Image, threshold: float
) -> tuple[Image.Image, Image.Image]:
    """Truth and prediction drawn on copies of the enlarged picture; one way for each kind of prediction."""
    raise TypeError(f"no gallery picture for {type(found).__name__}; register one with glipv2.report.gallery.panels")


@panels.register
def _(found: Detections, truth: ImageTruth, panel: Image.Image, threshold: float) -> tuple[Image.Image, Image.Image]:
    left = drawn_truth(panel, truth, found.vocabulary.names)
    return left, _drawn_predictions(panel, found.above(threshold))


@panels.register
def _(found: Segments, truth: ImageTruth, panel: Image.Image, threshold: float) -> tuple[Image.Image, Image.Image]:
    left, size = panel, (panel.height, panel.width)
    if truth.masks is not None and len(truth.masks):
        masks = F.interpolate(truth.masks[:, None].cpu().to(torch.uint8), size)[:, 0].bool()
        left = draw_masks(panel, masks, truth.labels.tolist())
    shown = found.above(threshold)
    right = draw_masks(panel, shown.resized(size).masks(), shown.labels.tolist())
    return drawn_truth(left, truth, found.vocabulary.names), _drawn_predictions(right, shown.detections)


@panels.register
def _(found: ImageCaption, truth: ImageTruth, panel: Image.Image, threshold: float) -> tuple[Image.Image, Image.Image]:
    left = draw_lines(panel, [caption.text for caption in truth.captions])
    factor = panel.width / found.image_size[1]
    return left, draw_lines(draw_texts(panel, [found.above(threshold).grounded], factor), [found.text])


@panels.register
def _(
    found: GroundedCaptions, truth: ImageTruth, panel: Image.Image, threshold: float
) -> tuple[Image.Image, Image.Image]:
    said = [caption.text for caption in truth.captions]
    left = draw_lines(drawn_phrases(panel, truth, truth.captions), said)
    factor = panel.width / found.image_size[1]
    return left, draw_lines(draw_texts(panel, found.above(threshold).captions, factor), said)


@panels.register
def _(found: Answers, truth: ImageTruth, panel: Image.Image, threshold: float) -> tuple[Image.Image, Image.Image]:
    right = [f"{question.text} {', '.join(dict.fromkeys(question.answers))}" for question in truth.questions]
    said = [f"{answer.question.text} {answer.text} {answer.probability:.2f}" for answer in found.answers]
    shown = [answer.question for answer in found.above(threshold).answers]
    left = draw_lines(drawn_phrases(panel, truth, truth.questions), right)
    return left, draw_lines(draw_texts(panel, shown, panel.width / found.image_size[1]), said)


def check_picture_name(path: Path) -> None:
    """UserError for a file name by which no picture can be saved."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"expected a picture's name ({', '.join(SUFFIXES)}), but got '{path}'")


def contact_sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures row by row in a grid of `columns`, each in the middle of a cell as large as the largest.

    Raises UserError when there are no pictures or no columns.
    """
    if not pictures or columns < 1:
        raise UserError(f"expected pictures and at least one column, but got {len(pictures)} and {columns}")
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    width = max(picture.width for picture in pictures) + GAP
    height = max(picture.height for picture in pictures) + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        left = GAP + column * width + (width - GAP - picture.width) // 2
        top = GAP + row * height + (height - GAP - picture.height) // 2
        sheet.paste(picture.convert("RGB"), (left, top))
    return sheet


def _resized(picture: Image.Image, min_side: int) -> Image.Image:
    factor = max(1.0, min_side / min(picture.size))
    factor = min(factor, LONGEST_SIDE / max(picture.size))
    if factor == 1.0:
        return picture
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def drawn_truth(panel: Image.Image, truth: ImageTruth, names: Sequence[str]) -> Image.Image:
    """Boxes with their names on a copy of the enlarged picture."""
    labels = [int(label) for label in truth.labels.tolist()]
    crowds = [bool(crowd) for crowd in truth.is_crowd.tolist()]
    captions = [names[label] + (" (crowd)" if crowd else "") for label, crowd in zip(labels, crowds, strict=True)]
    boxes = scale_boxes(truth.boxes.float().cpu(), truth.image_size, (panel.height, panel.width))
    return draw_boxes(panel, boxes.tolist(), captions, labels)


def drawn_phrases(panel: Image.Image, truth: ImageTruth, texts: Sequence[Caption | Question]) -> Image.Image:
    """What the phrases of texts name, as if it had been found for certain."""
    shown = []
    for text in texts:
        pairs = [(place, row) for place, phrase in enumerate(text.phrases) for row in phrase.instances]
        labels = torch.tensor([place for place, _ in pairs], dtype=torch.int64)
        boxes = truth.boxes[[row for _, row in pairs]].float().cpu()
        spans = tuple(phrase.spans for phrase in text.phrases)
        shown.append(GroundedText(text.text, spans, boxes, torch.ones(len(pairs)), labels))
    return draw_texts(panel, shown, panel.width / truth.image_size[1])


def _drawn_predictions(panel: Image.Image, shown: Detections) -> Image.Image:
    """The least certain first, so that better ones lie on top."""
    boxes = scale_boxes(shown.boxes.float(), shown.image_size, (panel.height, panel.width)).tolist()
    captions = [f"{name} {score:.2f}" for name, score in zip(shown.names, shown.scores.tolist(), strict=True)]
    return draw_boxes(panel, boxes[::-1], captions[::-1], shown.labels.tolist()[::-1])


def _joined(left: Image.Image, left_title: str, right: Image.Image, right_title: str) -> Image.Image:
    height = max(left.height, right.height)  # texts below the pictures differ in length
    joined = Image.new("RGB", (left.width + right.width, height + HEADING_HEIGHT), PAPER)
    pen = ImageDraw.Draw(joined)
    font = ImageFont.load_default(size=HEADING_SIZE)
    for place, (panel, title) in ((0, (left, left_title)), (left.width, (right, right_title))):
        joined.paste(panel, (place, HEADING_HEIGHT))
        pen.text((place + 6, 4), title, fill=INK, font=font)
    pen.rectangle((left.width - 1, 0, left.width, joined.height), fill=PAPER)  # the two panels may share a colour
    return joined
