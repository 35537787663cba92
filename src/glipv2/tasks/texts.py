"""What tasks on texts about images share: an image is encoded once for all of its texts, and phrases have boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from glipv2.data.collate import repeated
from glipv2.data.prompts import collate_prompts
from glipv2.models import Core
from glipv2.models.heads.selection import ScoredBoxes
from glipv2.structures import Features, ImageBatch, ImageTruth, Prompt, PromptBatch, TextQueryBatch
from glipv2.structures.boxes import scale_boxes
from glipv2.structures.grounded import GroundedText
from glipv2.tokenizer import Tokenizer

Result = TypeVar("Result")


@dataclass(frozen=True)
class FusedTexts:
    """Some of a batch's texts, `rows` of it, with their images' features and sizes int64 [K, 2], one row a text."""

    rows: list[int]
    features: Features
    prompts: PromptBatch
    image_sizes: Tensor


def fused_texts(core: Core, batch: TextQueryBatch, divisor: int, image_reads: bool = True) -> Iterator[FusedTexts]:
    """All texts of a batch, at most as many at once as images are, fused with their images.

    Only images of equal padded size meet in one step: no text's result depends on its neighbours.
    """
    owners = batch.image_rows.tolist()
    for image_rows, images in batch.images.by_padded_size(divisor):
        places = {row: place for place, row in enumerate(image_rows)}
        texts = [text for text, owner in enumerate(owners) if owner in places]
        levels = core.image(images.pixels) if texts else ()
        for start in range(0, len(texts), len(image_rows)):
            rows = texts[start : start + len(image_rows)]
            own = [places[owners[row]] for row in rows]
            prompts = batch.prompts.rows(rows)
            fused = core.fuse(tuple(level[own] for level in levels), prompts.text, image_reads)
            yield FusedTexts(rows, fused.after, prompts, images.image_sizes[own])


def levels_of_texts(core: Core, batch: TextQueryBatch) -> tuple[Tensor, ...]:
    """Pyramid levels with one row a row of prompts; each image is encoded once."""
    return tuple(level[batch.image_rows] for level in core.image(batch.images.pixels))


def grounded_text(batch: TextQueryBatch, row: int, found: ScoredBoxes) -> GroundedText:
    """A text of the batch with its phrases' boxes moved from the model-input frame to the original image's."""
    image = int(batch.image_rows[row])
    height, width = batch.images.image_sizes[image].tolist()
    boxes = scale_boxes(found.boxes, (height, width), batch.truth[image].image_size)
    text = batch.texts[row]
    return GroundedText(text.text, tuple(phrase.spans for phrase in text.phrases), boxes, found.scores, found.labels)


def by_image(batch: TextQueryBatch, results: Sequence[Result]) -> list[tuple[Result, ...]]:
    """What was said of each text, gathered for each image in the order of its texts."""
    gathered: list[list[Result]] = [[] for _ in range(len(batch))]
    for owner, result in zip(batch.image_rows.tolist(), results, strict=True):
        gathered[owner].append(result)
    return [tuple(own) for own in gathered]


def one_text_each(
    images: ImageBatch, truth: tuple[ImageTruth, ...], text: Prompt | Sequence[Prompt], tokenizer: Tokenizer
) -> TextQueryBatch:
    """The same text about every image, or each image's own."""
    count = len(images)
    rows = images.image_sizes.new_tensor(range(count))
    if isinstance(text, Prompt):
        return TextQueryBatch(
            images, (text,) * count, repeated(collate_prompts([text], tokenizer, step=1)[0], count), rows, truth
        )
    return TextQueryBatch(images, tuple(text), collate_prompts(text, tokenizer, step=1)[0], rows, truth)
