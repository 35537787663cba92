"""Loaders for one run: the same code for training, validation, and evaluation of any split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from glipv2.data.dataset import DataConfig, SampleDataset
from glipv2.data.faults import gathered, tell_skipped
from glipv2.data.mixing import MixedLoader
from glipv2.data.readable import ReadableSamples, picture_key
from glipv2.data.shards.dataset import PackedSamples
from glipv2.data.transforms import Example, ExampleDataset
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig
from glipv2.structures import Vocabulary

Collator = Callable[[Sequence[Example]], Any]
MakeCollator = Callable[[SampleDataset, bool], Collator]  # (samples, training)


@dataclass(frozen=True)
class Feed:
    """What one task is fed with: the parts a sample must hold, the batches made of them, and how often."""

    needs: frozenset[str]
    make_collator: MakeCollator
    weight: float = 1.0


class DataModule(pl.LightningDataModule):
    """Wraps a data preset in loaders, one a task; the tasks say how examples become their batches.

    feeds: by task name. eval_split: what validation scores. Opens its data sets at once, so that
    faults show before step 0; `skipped` are the numbers of records left out, by file and kind.
    """

    def __init__(
        self, config: DataConfig, pixels: PixelConfig, feeds: Mapping[str, Feed], *, train: bool, eval_split: str,
        seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self.pixels = pixels
        self.feeds = feeds
        self.seed = seed
        with gathered() as faults:
            self.train_samples = self._opened("train") if train else {}
            self.eval_samples = self._readable(self._opened(eval_split))
        self.skipped = tell_skipped(faults)
        self._examples: list[ExampleDataset] = []

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that is trained on, or evaluated when nothing is trained."""
        return next(iter((self.train_samples or self.eval_samples).values())).vocabulary

    @property
    def answers(self) -> tuple[str, ...]:
        """The answers that the training questions have, () where no task asks any."""
        asked = [name for name, feed in self.feeds.items() if "questions" in feed.needs]
        return (self.train_samples or self.eval_samples)[asked[0]].answers if asked else ()

    @property
    def skipped_pictures(self) -> int:
        """How many pictures can't be read, of evaluation and of those that training has met; each counts once."""
        met = {
            picture_key(examples.samples, row)
            for examples in self._examples
            if examples.broken is not None
            for row in examples.broken.nonzero().flatten().tolist()
        }
        scored = {
            key
            for samples in self.eval_samples.values()
            if isinstance(samples, ReadableSamples)
            for key in samples.left_out
        }
        return len(met | scored)

    @property
    def skipped_shards(self) -> int:
        """How many shards can't be read, of those that training and evaluation have met; each counts once."""
        opened = [*self.train_samples.values(), *self.eval_samples.values()]
        inner = [samples.samples if isinstance(samples, ReadableSamples) else samples for samples in opened]
        return len(
            {place for samples in inner if isinstance(samples, PackedSamples) for place in samples.failed_places}
        )

    def train_dataloader(self) -> DataLoader[Example] | MixedLoader:
        """Shuffled and augmented; batches of one task each, drawn by weight when there are several."""
        assert self.train_samples, "this data module was opened for evaluation only"
        loaders = {name: self._training_loader(name) for name in self.feeds}
        if len(loaders) == 1:
            return next(iter(loaders.values()))
        return MixedLoader(loaders, {name: feed.weight for name, feed in self.feeds.items()}, self.seed)

    def val_dataloader(self) -> list[DataLoader[Example]]:
        """One loader a task, in order, resized only."""
        return [
            self._loader(name, ExampleDataset(samples, self.pixels, None), training=False)
            for name, samples in self.eval_samples.items()
        ]

    def _opened(self, split: str) -> dict[str, SampleDataset]:
        """The samples of a split for each task; tasks that need the same share one data set."""
        by_needs = {needs: self.config.dataset(split, needs) for needs in {feed.needs for feed in self.feeds.values()}}
        return {name: by_needs[feed.needs] for name, feed in self.feeds.items()}

    def _readable(self, opened: Mapping[str, SampleDataset]) -> dict[str, SampleDataset]:
        """The samples without broken pictures where faults are skipped; a data set of several tasks is read once."""
        if not self.config.skips_faults:
            return dict(opened)
        once = {id(samples): ReadableSamples(samples, self.config.workers) for samples in opened.values()}
        return {name: once[id(samples)] for name, samples in opened.items()}

    def _training_loader(self, name: str) -> DataLoader[Example]:
        samples, skip = self.train_samples[name], self.config.skips_faults
        examples = ExampleDataset(samples, self.pixels, self.config.augment, skip_broken=skip)
        self._examples.append(examples)
        if len(examples) < self.config.batch_size:
            raise UserError(
                f"data.batch_size is {self.config.batch_size}, but training has only {len(examples)} images"
            )
        return self._loader(name, examples, training=True)

    def _loader(self, name: str, examples: ExampleDataset, *, training: bool) -> DataLoader[Example]:
        return DataLoader(
            examples,
            batch_size=self.config.batch_size if training else self.config.eval_batch_size,
            shuffle=training,
            drop_last=training,
            num_workers=self.config.workers,
            persistent_workers=self.config.workers > 0 and training,
            collate_fn=self.feeds[name].make_collator(examples.samples, training),
        )
