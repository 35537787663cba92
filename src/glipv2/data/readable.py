"""Evaluation without the pictures that can't be read: found by reading all of them once, counted and left out."""

from __future__ import annotations

import logging

from torch.utils.data import DataLoader, Dataset

from glipv2.data.chosen import ChosenSamples
from glipv2.data.dataset import SampleDataset
from glipv2.data.joined import JoinedDataset
from glipv2.data.shards.dataset import PackedSamples
from glipv2.errors import UserError

log = logging.getLogger(__name__)


class ReadableSamples(ChosenSamples):
    """Those samples whose pictures can be read; `left_out` are the keys of the others.

    A training draws another sample for a broken picture when it meets it; an evaluation must not score one
    twice, so it looks first. workers: loader processes. UserError when no picture can be read.
    """

    def __init__(self, samples: SampleDataset, workers: int) -> None:
        loader: DataLoader[str | None] = DataLoader(_Problems(samples), batch_size=None, num_workers=workers)
        problems = list(loader)
        super().__init__(samples, [row for row, problem in enumerate(problems) if problem is None])
        self.left_out = frozenset(
            picture_key(samples, row) for row, problem in enumerate(problems) if problem is not None
        )
        for problem in dict.fromkeys(filter(None, problems)):  # a shard is told once
            log.warning("left out of evaluation: %s", problem)
        if not len(self):
            raise UserError(f"none of the {len(problems)} pictures to evaluate can be read; the first: {problems[0]}")


def picture_key(samples: SampleDataset, row: int) -> tuple[str, str]:
    """What tells a picture from others: the same for all data sets that read it. Its folder and its name, as a rule."""
    if isinstance(samples, PackedSamples):
        return samples.picture_key(row)
    images = samples.images if isinstance(samples, JoinedDataset) else samples
    return str(getattr(images, "folder", "")), samples.truth(row).name


class _Problems(Dataset[str | None]):
    """Why each sample can't be read, "" where that has been told of its shard; None where it can."""

    def __init__(self, samples: SampleDataset) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> str | None:
        try:
            self.samples[index]
        except UserError as error:
            return "" if getattr(error, "known", False) else str(error)
        return None
