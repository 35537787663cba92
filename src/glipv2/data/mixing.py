"""Batches of several tasks in one stream."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

from glipv2.structures import ImageTruth, TensorStruct


@dataclass(frozen=True)
class RoutedBatch(TensorStruct):
    """A batch and the name of the task that it is for."""

    task: str
    batch: Any

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def truth(self) -> tuple[ImageTruth, ...]:
        """Of the batch inside."""
        truth: tuple[ImageTruth, ...] = self.batch.truth
        return truth


class MixedLoader:
    """Draws the task of each step by weight, and that task's next batch; a loader that ends begins anew.

    The draw depends on the seed and the step alone: all ranks train the same task at the same step, so
    that no rank waits in a reduction that the others never enter. An epoch has as many steps as all
    loaders together. Under distributed training each loader is split over the ranks here, since
    Lightning splits plain DataLoaders only.
    """

    def __init__(self, loaders: Mapping[str, DataLoader[Any]], weights: Mapping[str, float], seed: int) -> None:
        self.loaders = {name: _over_ranks(loader, seed) for name, loader in loaders.items() if weights[name] > 0}
        self.weights = [weights[name] for name in self.loaders]
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return sum(len(loader) for loader in self.loaders.values())

    def __iter__(self) -> Iterator[RoutedBatch]:
        rng = random.Random(f"{self.seed}/{self.epoch}")
        self.epoch += 1
        names = list(self.loaders)
        streams = {name: _endless(loader) for name, loader in self.loaders.items()}
        for _ in range(len(self)):
            name = rng.choices(names, self.weights)[0]
            yield RoutedBatch(name, next(streams[name]))


def _endless(loader: DataLoader[Any]) -> Iterator[Any]:
    passes = 0
    while True:
        if isinstance(loader.sampler, DistributedSampler):
            loader.sampler.set_epoch(passes)
        passes += 1
        yield from loader


def _over_ranks(loader: DataLoader[Any], seed: int) -> DataLoader[Any]:
    """The loader's part of its data on this rank."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return loader
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=DistributedSampler(loader.dataset, shuffle=True, seed=seed, drop_last=True),
        drop_last=loader.drop_last,
        num_workers=loader.num_workers,
        persistent_workers=loader.persistent_workers,
        collate_fn=loader.collate_fn,
    )
