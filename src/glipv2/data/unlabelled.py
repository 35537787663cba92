"""Pictures of which nothing is known: read, resized and normalised in loader processes, while the model works."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from glipv2.data.images import read_image, to_tensor
from glipv2.data.transforms import resize
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig
from glipv2.structures import ImageBatch, ImageTruth, Instances
from glipv2.structures.batches import TensorStruct

MOST_WORKERS = 4  # keep a fast GPU busy with photos; more only take memory


@dataclass(frozen=True)
class PictureRead(TensorStruct):
    """A picture by its place in a list of paths: as it is and as the model wants it, RGB uint8 [3, H, W] each.

    original: None where nobody asked for it; size: (height, width) of it. fault: why it can't be read, "" where
    it can.
    """

    place: int
    size: tuple[int, int] = (0, 0)
    resized: Tensor | None = None
    original: Tensor | None = None
    fault: str = ""


@dataclass(frozen=True)
class PictureBatch(TensorStruct):
    """Pictures ready for a task, and what was read of each file; broken ones are not in `images`."""

    images: ImageBatch | None
    truth: tuple[ImageTruth, ...]
    readable: tuple[PictureRead, ...]
    broken: tuple[PictureRead, ...]


def resized_for(pixels: PixelConfig, picture: Tensor) -> Tensor:
    """A picture [3, H, W] in the size that a model wants."""
    size = (int(picture.shape[-2]), int(picture.shape[-1]))
    return resize(picture, Instances.empty(), pixels.target_size(size))[0]


def unknown(image_id: int, size: tuple[int, int]) -> ImageTruth:
    """A picture of `size` (height, width) of which nothing is known."""
    empty = Instances.empty()
    return ImageTruth(image_id, "", size, empty.boxes, empty.labels, empty.is_crowd, empty.areas)


class PictureFiles(Dataset[PictureRead]):
    """Picture files by their place in a list; a broken one gives a fault, which the caller decides about."""

    def __init__(self, paths: Sequence[Path], pixels: PixelConfig, originals: bool) -> None:
        self.paths = list(paths)
        self.pixels = pixels
        self.originals = originals

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> PictureRead:
        try:
            picture = to_tensor(read_image(self.paths[place]))
        except UserError as error:
            return PictureRead(place, fault=str(error))
        size = (int(picture.shape[-2]), int(picture.shape[-1]))
        return PictureRead(place, size, resized_for(self.pixels, picture), picture if self.originals else None)


class PictureCollator:
    """Pictures to one batch."""

    def __init__(self, pixels: PixelConfig) -> None:
        self.pixels = pixels

    def __call__(self, read: Sequence[PictureRead]) -> PictureBatch:
        readable = [one for one in read if not one.fault]
        resized = [one.resized for one in readable if one.resized is not None]
        return PictureBatch(
            images=self.pixels.batch(resized) if resized else None,
            truth=tuple(unknown(one.place, one.size) for one in readable),
            readable=tuple(PictureRead(one.place, one.size, None, one.original) for one in readable),
            broken=tuple(one for one in read if one.fault),
        )


def picture_loader(
    paths: Sequence[Path], pixels: PixelConfig, batch_size: int, workers: int | None, *, originals: bool, pinned: bool
) -> DataLoader[PictureRead]:
    """Batches in the order of the paths. workers: None = as many as suit the machine, none for a single batch."""
    count = suitable_workers(len(paths), batch_size) if workers is None else workers
    return DataLoader(
        PictureFiles(paths, pixels, originals),
        batch_size,
        num_workers=count,
        # whole photographs are large: one batch a process waits, two where only the model's input does
        prefetch_factor=(1 if originals else 2) if count else None,
        collate_fn=PictureCollator(pixels),
        pin_memory=pinned,
    )


def suitable_workers(pictures: int, batch_size: int) -> int:
    """Loader processes for a number of pictures on this machine."""
    if pictures <= batch_size:
        return 0  # nothing to overlap with
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, max(1, cores // 2))
