"""`glipv2 data benchmark`: where the time of loading goes, beside plain torchvision on the same photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as TF

from glipv2.arguments import composed
from glipv2.checkpoints import with_weights_model
from glipv2.config import TrainConfig, check_pair
from glipv2.data.dataset import SampleDataset
from glipv2.data.transforms import ExampleDataset
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig

ANNOTATIONS, READING, AUGMENTING, COLLATING = "annotations", "reading and decoding", "resize and augment", "collate"
STAGES = (ANNOTATIONS, READING, AUGMENTING, COLLATING)
ADVICE = {
    ANNOTATIONS: "the annotations of an image take longest: fewer masks (task=detection) or fewer texts an image",
    READING: "decoding takes longest: store the pictures smaller, at most twice the model's side, or add data.workers",
    AUGMENTING: "augmentation takes longest: switch parts of data.augment off, or add data.workers",
    COLLATING: "prompts and padding take longest: fewer names a prompt (data.prompts.max_names), or add data.workers",
}


@dataclass
class LoadingReport:
    """Milliseconds an image by stage, one thread; the same by torchvision, None without files; images/s by workers."""

    images: int
    stages: dict[str, float] = field(default_factory=dict)
    torchvision: float | None = None
    speeds: dict[int, float] = field(default_factory=dict)

    @property
    def bottleneck(self) -> str:
        """The slowest stage."""
        return max(self.stages, key=self.stages.__getitem__)

    @property
    def ours(self) -> float:
        """What torchvision is compared with: from a file to the model's pixels, without annotations and collate."""
        return self.stages[READING] + self.stages[AUGMENTING]

    def lines(self) -> list[str]:
        """For people."""
        total = sum(self.stages.values())
        told = [f"{name:22s} {value:8.2f} ms an image  {value / total:4.0%}" for name, value in self.stages.items()]
        told.append(f"{'all':22s} {total:8.2f} ms an image, {1000 / total:.1f} images/s on one thread")
        if self.torchvision is not None:
            ratio = self.ours / self.torchvision
            told.append(
                f"{'plain torchvision':22s} {self.torchvision:8.2f} ms an image (decode, resize, normalise); "
                f"reading, resize and augment here take {ratio:.2f} times that"
            )
        for workers, speed in self.speeds.items():
            told.append(f"{f'data.workers={workers}':22s} {speed:8.1f} images/s")
        return [*told, ADVICE[self.bottleneck]]


def benchmark(words: Sequence[str], images: int, workers: Sequence[int]) -> dict[str, LoadingReport]:
    """Loads `images` training images of each task that `glipv2 train` with these words trains, one after the other.

    Stages are medians over the images, so that a slow first read of one file moves nothing. Raises UserError
    like training itself.
    """
    if images < 1 or any(count < 0 for count in workers):
        raise UserError(f"expected --count of at least 1 and --workers of at least 0, but got {images} and {workers}")
    config = with_weights_model(composed(words))
    pl.seed_everything(config.seed, verbose=False)
    reports = {}
    for name, stream in config.task.streams().items():
        check_pair(stream.task, config.data, ["train"])
        samples = config.data.dataset("train", stream.task.needs)
        collate = stream.task.collator(config.model, config.data, samples, True)
        reports[name] = _measured(config, samples, collate, images, workers)
    return reports


def _measured(
    config: TrainConfig, samples: SampleDataset, collate: Callable[[Sequence[Any]], Any], images: int,
    workers: Sequence[int],
) -> LoadingReport:  # fmt: skip
    pixels, batch = config.model.pixels, config.data.batch_size
    examples = ExampleDataset(samples, pixels, config.data.augment)
    chosen = torch.randperm(len(samples))[:images].tolist()
    files = [path for path in (_file(samples, index) for index in chosen) if path is not None]
    with one_thread():
        truth, whole, given = (
            _times(chosen, read) for read in (samples.truth, samples.__getitem__, examples.__getitem__)
        )
        made = [examples[index] for index in chosen]
        batches = [made[start : start + batch] for start in range(0, len(made), batch)]
        packing = [taken / len(own) for own, taken in zip(batches, _times(batches, collate), strict=True)]
        plain = median(_times(files, lambda path: _by_torchvision(path, pixels))) if files else None
    annotations, reading, ready = median(truth), median(whole), median(given)
    stages = (annotations, max(reading - annotations, 0.0), max(ready - reading, 0.0), median(packing))
    report = LoadingReport(len(chosen), dict(zip(STAGES, stages, strict=True)), plain)
    for count in workers:
        report.speeds[count] = _speed(examples, collate, batch, count, images)
    return report


def _times(values: Sequence[Any], do: Callable[[Any], Any]) -> list[float]:
    """Milliseconds that each took, after one untimed."""
    do(values[0])
    taken = []
    for value in values:
        begun = time.perf_counter()
        do(value)
        taken.append(1000 * (time.perf_counter() - begun))
    return taken


def _speed(examples: ExampleDataset, collate: Callable[[Any], Any], batch: int, workers: int, images: int) -> float:
    """Images a second from a running loader: its start and first batch are not counted."""
    loader = DataLoader(examples, batch, shuffle=True, num_workers=workers, collate_fn=collate, drop_last=False)
    rounds = iter(_endless(loader))
    next(rounds)
    begun, seen = time.perf_counter(), 0
    while seen < images:
        seen += len(next(rounds))
    return seen / (time.perf_counter() - begun)


def _endless(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _file(samples: SampleDataset, index: int) -> Path | None:
    """The picture's file, None where there is none, as of procedural scenes."""
    folder = getattr(getattr(samples, "images", samples), "folder", None)
    path = None if folder is None else Path(folder) / samples.truth(index).name
    return path if path is not None and path.is_file() else None


def _by_torchvision(path: Path, pixels: PixelConfig) -> torch.Tensor:
    """Decoded, resized and normalised in the shortest way that there is."""
    picture = decode_image(str(path), ImageReadMode.RGB)
    resized = TF.resize(picture, list(pixels.target_size((picture.shape[-2], picture.shape[-1]))))
    ready: torch.Tensor = TF.normalize(resized.float(), pixels.mean, pixels.std)
    return ready


@contextmanager
def one_thread() -> Iterator[None]:
    """As a loader's worker has it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
