"""A sample as the model will see it: resized, flipped, cropped, recoloured."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torchvision.transforms.v2 as T
import torchvision.transforms.v2.functional as TF
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from glipv2.data.augment import AugmentConfig
from glipv2.data.dataset import SampleDataset
from glipv2.data.images import to_tensor
from glipv2.data.order import Draw, drawn_seed, seeded
from glipv2.data.truths import truth_of
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig
from glipv2.structures import ImageTruth, Instances, Sample

log = logging.getLogger(__name__)

SIDES = re.compile(  # as words, also within left_arrow, turnLeft and LeftTurn, and as RefCOCO's people type them
    r"((?<![^\W\d_])|(?<=[a-z])(?=[A-Z]))"  # no letter before, or a capital after a small one
    r"(?i:((top|bottom|upper|lower)?(left|right)|lft|rgt|rght)(most|est|hand(ed)?|side|wards?|y)?|rt)"
    r"((?![^\W\d_])|(?<=[a-z])(?=[A-Z]))"
)
MIN_SIDE = 1.0  # pixels; a crop may leave slivers of a box, which teach nothing


@dataclass(frozen=True)
class Example:
    """What one sample became: image uint8 [3, h, w] and instances in its frame; the truth is untouched.

    kept: which of the sample's instances these are (a crop loses some); None = all. seed: of what else is
    random about the sample, as its prompt. pixel: width and height here of a pixel as it was read.
    """

    image: Tensor
    instances: Instances
    truth: ImageTruth
    sample: Sample
    kept: tuple[int, ...] | None = None
    seed: int = field(default_factory=drawn_seed)
    pixel: tuple[float, float] = (1.0, 1.0)


class ExampleDataset(Dataset[Example]):
    """A data set of samples behind a transform; `augment=None` only resizes, as in evaluation.

    A sample is asked for by its index, or by a `Draw` that also says how it varies: the same then in every process.

    skip_broken: the next sample takes the place of one whose picture can't be read, which is logged and marked in
    `broken` bool [len], shared with loader processes; otherwise its UserError ends the run.

    Nothing is mirrored where a class name says left or right: prompts ask for absent classes too.
    """

    def __init__(
        self, samples: SampleDataset, pixels: PixelConfig, augment: AugmentConfig | None, *, skip_broken: bool = False
    ) -> None:
        self.samples = samples
        self.broken = torch.zeros(len(samples), dtype=torch.bool).share_memory_() if skip_broken else None
        self.pixels = pixels
        self.augment = augment
        self._steps = _random_steps(augment) if augment else []
        sided = [name for name in samples.vocabulary.names if SIDES.search(name)] if augment else []
        self._mirrors = not sided
        if sided:
            log.info("no picture is mirrored: %d class names say left or right, as '%s'", len(sided), sided[0])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int | Draw) -> Example:
        draw = index if isinstance(index, Draw) else Draw(index, drawn_seed())
        with seeded(draw.seed):
            return self._example(draw.index, draw.seed)

    def _example(self, index: int, seed: int) -> Example:
        sample = self.samples[index] if self.broken is None else self._readable(index, self.broken)
        image, instances, kept = sample.image, sample.instances, None
        if self.augment:
            flip = self._mirrors and not mentions_side(sample)
            image, instances, kept = self._augmented(image, instances, flip)
        height, width = _size(image)
        image, instances = resize(image, instances, self.pixels.target_size((height, width), self._short_side()))
        pixel = image.shape[2] / width, image.shape[1] / height
        return Example(image, instances, truth_of(sample), sample, kept, seed, pixel)

    def _readable(self, index: int, broken: Tensor) -> Sample:
        """The sample, or the first one after it that can be read."""
        for place in (*range(index, len(self)), *range(index)):
            if broken[place]:
                continue
            try:
                return self.samples[place]
            except UserError as error:
                broken[place] = True
                if not getattr(error, "known", False):  # the other samples of a broken shard
                    log.warning("left out of training: %s", error)
        raise UserError(f"none of the {len(self)} training pictures can be read; glipv2 data check tells why")

    def _short_side(self) -> int | None:
        sides = self.augment.short_sides if self.augment else []
        return sides[int(torch.randint(len(sides), ()))] if sides else None

    def _augmented(self, image: Tensor, instances: Instances, flip: bool) -> tuple[Tensor, Instances, tuple[int, ...]]:
        """Image and instances, and which of them are left."""
        assert self.augment is not None
        rows = torch.arange(len(instances))
        for step in self._steps:
            image, instances, left = _applied(step, image, instances)
            rows = rows[left]
        if flip and float(torch.rand(())) < self.augment.flip:
            image, instances = mirrored(image, instances)
        return image, instances, tuple(rows.tolist())


def mentions_side(sample: Sample) -> bool:
    """Whether a text of the sample, or an answer, would be false in a mirror; class names are the data set's."""
    texts = [caption.text for caption in sample.captions]
    for question in sample.questions:
        texts += (question.text, *question.answers)
    return any(SIDES.search(text) for text in texts)


def mirrored(image: Tensor, instances: Instances) -> tuple[Tensor, Instances]:
    """The image and its boxes and masks, left for right."""
    width = image.shape[-1]
    boxes = instances.boxes.clone()
    boxes[:, 0], boxes[:, 2] = width - instances.boxes[:, 2], width - instances.boxes[:, 0]
    masks = None if instances.masks is None else instances.masks.flip(-1)
    return image.flip(-1), replace(instances, boxes=boxes, masks=masks)


def resize(image: Tensor, instances: Instances, size: tuple[int, int]) -> tuple[Tensor, Instances]:
    """Both in an image (uint8) of `size` (height, width), by Pillow's bilinear filter; masks by the nearest pixel.

    Pillow itself, as in the released code: torchvision's filter differs by a grey level here and there.
    """
    old = _size(image)
    if old == size:
        return image, instances
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    resized = to_tensor(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    factor = torch.tensor([size[1] / old[1], size[0] / old[0]]).repeat(2)
    masks = instances.masks
    if masks is not None and len(masks):
        masks = TF.resize(masks.to(torch.uint8), list(size), interpolation=T.InterpolationMode.NEAREST).bool()
    return resized, replace(instances, boxes=instances.boxes * factor, masks=masks)


def _size(image: Tensor) -> tuple[int, int]:
    return int(image.shape[-2]), int(image.shape[-1])


def _random_steps(augment: AugmentConfig) -> list[T.Transform]:
    steps: list[T.Transform] = []
    if augment.color:
        steps.append(T.ColorJitter(augment.color, augment.color, augment.color))
    if augment.zoom_out:
        fill = {tv_tensors.Image: 114, tv_tensors.Mask: 0}  # one number would fill masks too
        steps.append(T.RandomZoomOut(fill=fill, side_range=(1.0, 2.0), p=augment.zoom_out))
    if augment.crop:
        steps.append(T.RandomApply([T.RandomIoUCrop()], p=augment.crop))
    return steps


def _applied(step: T.Transform, image: Tensor, instances: Instances) -> tuple[Tensor, Instances, Tensor]:
    """Runs a torchvision transform on image, boxes and masks together, drops what left the image, says what stayed.

    Boxes are cut to the image first: those past its border, as Flickr30k's from pixel 0 on, would be dropped.
    """
    boxes = TF.clamp_bounding_boxes(
        tv_tensors.BoundingBoxes(
            instances.boxes,
            format=tv_tensors.BoundingBoxFormat.XYXY,
            canvas_size=_size(image),
        )
    )
    index = torch.arange(len(instances))
    values: dict[str, Any] = {"image": tv_tensors.Image(image), "boxes": boxes, "labels": index}
    if instances.masks is not None:
        values["masks"] = tv_tensors.Mask(instances.masks)
    changed = T.SanitizeBoundingBoxes(min_size=MIN_SIDE)(step(values))
    kept = changed["labels"]
    left = Instances(
        boxes=changed["boxes"].as_subclass(Tensor),
        labels=instances.labels[kept],
        is_crowd=instances.is_crowd[kept],
        areas=instances.areas[kept],
        masks=changed["masks"].as_subclass(Tensor) if instances.masks is not None else None,
    )
    return changed["image"].as_subclass(Tensor), left, kept
