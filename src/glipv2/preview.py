"""`glipv2 data preview`: training samples as the model will see them, augmented, with what each box is taught."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from glipv2.arguments import composed
from glipv2.checkpoints import with_weights_model
from glipv2.config import TrainConfig, check_pair
from glipv2.data.transforms import ExampleDataset
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig
from glipv2.report.gallery import check_picture_name, contact_sheet
from glipv2.structures import DetectionBatch, TextQueryBatch
from glipv2.structures.drawing import draw_boxes, draw_lines, draw_masks
from glipv2.tasks.base import TaskConfig
from glipv2.tokenizer import Tokenizer

WIDTH = 480  # of a picture on the sheet, in pixels
COLUMNS = 4
ANSWERS = 3  # under a question


def preview(words: Sequence[str], output: Path, count: int) -> int:
    """Writes a contact sheet of `count` samples of each task that `glipv2 train` with these words trains.

    The same seed gives the same sheet; returns how many pictures are on it. Raises UserError like training itself.
    """
    check_picture_name(output)
    if count < 1:
        raise UserError(f"--count: expected at least 1, but got {count}")
    config = with_weights_model(composed(words))
    pl.seed_everything(config.seed, verbose=False)
    pictures = [picture for stream in config.task.streams().values() for picture in seen(stream.task, config, count)]
    output.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(pictures, COLUMNS).save(output)
    return len(pictures)


def seen(task: TaskConfig, config: TrainConfig, count: int) -> Iterator[Image.Image]:
    """Pictures of what a task is trained on, drawn at random like a training's."""
    check_pair(task, config.data, ["train"])
    samples = config.data.dataset("train", task.needs)
    examples = ExampleDataset(samples, config.model.pixels, config.data.augment)
    collate = task.collator(config.model, config.data, samples, True)
    tokenizer = config.model.tokenizer.build()
    found = 0
    for index in torch.randperm(len(examples)).tolist():
        for picture in drawn(collate([examples[index]]), config.model.pixels, tokenizer, samples.answers):
            yield picture
            found += 1
            if found == count:
                return


def drawn(batch: Any, pixels: PixelConfig, tokenizer: Tokenizer, answers: Sequence[str]) -> Iterator[Image.Image]:
    """A picture for each text of a batch: boxes with the words that name them, masks, and the text below."""
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels.pictures(batch.images)]
    if isinstance(batch, DetectionBatch):
        prompts, rows = batch.prompts[0], list(range(len(pictures)))
    elif isinstance(batch, TextQueryBatch):
        prompts, rows = batch.prompts, batch.image_rows.tolist()
    else:
        raise TypeError(f"no preview for {type(batch).__name__}")
    for row, image in enumerate(rows):
        ids, factor = prompts.text.token_ids[row], WIDTH / pictures[image].width
        size = (WIDTH, max(1, round(pictures[image].height * factor)))
        picture = pictures[image].resize(size, Image.Resampling.BICUBIC)
        if batch.targets is not None:
            masks = batch.masks[row] if isinstance(batch, DetectionBatch) and batch.masks is not None else None
            own = batch.targets.box_mask[row]
            boxes, positive = batch.targets.boxes[row][own] * factor, batch.targets.positive_map[row][own]
            picture = _with_boxes(picture, boxes, [tokenizer.decode(ids[named].tolist()) for named in positive], masks)
        text = tokenizer.decode(ids[prompts.text.token_mask[row]].tolist())
        yield draw_lines(picture, [text, *_answers(batch, row, len(rows), answers)])


def _with_boxes(picture: Image.Image, boxes: Tensor, words: Sequence[str], masks: Tensor | None) -> Image.Image:
    """A colour for each wording, boxes over masks."""
    colors = {wording: number for number, wording in enumerate(dict.fromkeys(words))}
    labels = [colors[wording] for wording in words]
    if masks is not None and labels:
        resized = F.interpolate(masks[:, None].to(torch.uint8), (picture.height, picture.width))[:, 0]
        picture = draw_masks(picture, resized.bool(), labels)
    return draw_boxes(picture, boxes.tolist(), words, labels)


def _answers(batch: Any, row: int, rows: int, answers: Sequence[str]) -> list[str]:
    """How right each answer of a question is; nothing where several questions stand in one row."""
    rightness = getattr(batch, "answers", None)
    if rightness is None or len(rightness) != rows:
        return []
    values, places = rightness[row].topk(min(ANSWERS, rightness.shape[1]))
    told = zip(values.tolist(), places.tolist(), strict=True)
    return [", ".join(f"{answers[place]} {value:.2f}" for value, place in told if value > 0) or "(no known answer)"]
