"""From a picture to the model's input: resize rule, channel order, normalisation, padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glipv2.ranges import at_least, within
from glipv2.structures import ImageBatch


@dataclass
class PixelConfig:
    """What a model wants to see.

    short_side and max_long_side: pixels after resizing; mean and std on values of 0–255, in the
    order of `bgr` (True = blue first); size_divisor: padded sizes are multiples of it.
    """

    short_side: int = at_least(1, 800)
    max_long_side: int = at_least(1, 1333)
    mean: list[float] = within(-1e6, 1e6, [123.675, 116.28, 103.53], length=3)
    std: list[float] = at_least(1e-6, [58.395, 57.12, 57.375], length=3)
    bgr: bool = False
    size_divisor: int = at_least(1, 32)

    def target_size(self, image_size: tuple[int, int], short_side: int | None = None) -> tuple[int, int]:
        """(height, width) after resizing: the short side as asked unless the long one grows past its bound.

        Rounds as the released transform does. Where that leaves no short side at all, which the
        released code fails on, it is one pixel and the long one its bound.
        """
        height, width = image_size
        short, long = min(image_size), max(image_size)
        side = short_side or self.short_side
        if long / short * side > self.max_long_side:
            side = round(self.max_long_side * short / long)
        if side < 1:
            return (self.max_long_side, 1) if width < height else (1, self.max_long_side)
        if short == side:
            return height, width
        if width < height:
            return int(side * height / width), side
        return side, int(side * width / height)

    def normalize(self, pixels: Tensor) -> Tensor:
        """RGB 0–255 [..., 3, H, W] to the model's float input."""
        ordered = pixels.flip(-3) if self.bgr else pixels
        mean = torch.tensor(self.mean).view(3, 1, 1)
        std = torch.tensor(self.std).view(3, 1, 1)
        return (ordered.float() - mean) / std

    def pictures(self, images: ImageBatch) -> list[Tensor]:
        """The images of a batch as they were before normalisation and padding: RGB uint8 [3, H, W] each."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        plain = ((images.pixels * std + mean).round().clamp(0, 255)).to(torch.uint8)
        ordered = plain.flip(-3) if self.bgr else plain
        sizes = images.image_sizes.tolist()
        return [image[:, :height, :width] for image, (height, width) in zip(ordered, sizes, strict=True)]

    def batch(self, images: Sequence[Tensor]) -> ImageBatch:
        """Normalises images (RGB 0–255 [3, H, W] of any sizes) and pads them right and bottom with zeros."""
        sizes = torch.tensor([image.shape[-2:] for image in images], dtype=torch.int64)
        height, width = (-(-int(side) // self.size_divisor) * self.size_divisor for side in sizes.amax(dim=0))
        pixels = torch.zeros(len(images), 3, height, width)
        for row, image in zip(pixels, images, strict=True):
            row[:, : image.shape[-2], : image.shape[-1]] = self.normalize(image)
        return ImageBatch(pixels, sizes)
