"""Loaders for one run: the same code for training, validation, and evaluation of any split."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from glipv2.data.dataset import DataConfig, SampleDataset
from glipv2.data.faults import gathered, tell_skipped
from glipv2.data.fingerprint import fingerprint
from glipv2.data.mixing import Source, TrainingStream
from glipv2.data.order import TrainingOrder
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

    feeds: by task name; routed: whether a training batch comes with the name of its task, as a joint task's do, be it
    of one task alone. eval_split: what validation scores. Opens its data sets at once, so that
    faults show before step 0; `skipped` are the numbers of records left out, by file and kind.
    """

    def __init__(
        self, config: DataConfig, pixels: PixelConfig, feeds: Mapping[str, Feed], *, train: bool, eval_split: str,
        seed: int = 0, routed: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self.pixels = pixels
        self.feeds = feeds
        self.routed = routed
        self.seed = seed
        self.eval_split = eval_split
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

    def fingerprint(self) -> dict[str, Any]:
        """What is trained on and validated, see `data.fingerprint`."""
        opened = {"train": self.train_samples, self.eval_split: self.eval_samples}
        return fingerprint(self.config, {split: samples for split, samples in opened.items() if samples})

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

    def train_dataloader(self) -> TrainingStream:
        """Shuffled and augmented batches up to the last step; of one task each, drawn by weight, where there are more.

        They depend on the seed and their number alone, not on loader processes, ranks or what was done before.
        """
        assert self.train_samples, "this data module was opened for evaluation only"
        sources = {name: self._training_source(name) for name in self.feeds}
        trainer = self.trainer
        assert trainer is not None, "training batches are counted by a trainer"
        progress = trainer.fit_loop.epoch_loop.batch_progress
        length = trainer.max_steps * trainer.accumulate_grad_batches
        if length < 0:  # as many as there are, with options.max_steps=-1
            length = sum(source.order.per_pass for source in sources.values())
        return TrainingStream(sources, self.seed, length, lambda: int(progress.total.completed), self.routed)

    def first_batches(self, count: int) -> TrainingStream:
        """The first batches that a training would see, for whoever measures a step without a trainer."""
        sources = {name: self._training_source(name) for name in self.feeds}
        return TrainingStream(sources, self.seed, count, lambda: 0, self.routed)

    def val_dataloader(self) -> list[DataLoader[Example]]:
        """One loader a task, in order, resized only."""
        return [self._evaluation_loader(name, samples) for name, samples in self.eval_samples.items()]

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

    def _training_source(self, name: str) -> Source:
        samples, skip = self.train_samples[name], self.config.skips_faults
        examples = ExampleDataset(samples, self.pixels, self.config.augment, skip_broken=skip)
        self._examples.append(examples)
        rank, world = _place_among_processes()
        size = self.config.batch_size
        if len(examples) < size * world:
            several = f" on each of {world} devices" if world > 1 else ""
            raise UserError(
                f"data.batch_size is {size}{several}, but training has only {len(examples)} images; "
                "take a smaller data.batch_size or more images"
            )
        order = TrainingOrder(len(examples), size, f"{self.seed}/{name}", rank=rank, world=world, samples=samples)
        loader = DataLoader(
            examples,
            batch_sampler=order,
            num_workers=self.config.workers,
            collate_fn=self.feeds[name].make_collator(samples, True),
            worker_init_fn=ignore_interrupts,
            generator=torch.Generator(),  # or a loader's start would take numbers from those that dropout draws
        )
        return Source(loader, order, self.feeds[name].weight)

    def _evaluation_loader(self, name: str, samples: SampleDataset) -> DataLoader[Example]:
        return DataLoader(
            ExampleDataset(samples, self.pixels, None),
            batch_size=self.config.eval_batch_size,
            num_workers=self.config.workers,
            collate_fn=self.feeds[name].make_collator(samples, False),
            worker_init_fn=ignore_interrupts,
            generator=torch.Generator(),
        )


def ignore_interrupts(worker: int) -> None:
    """Ctrl-C is for the training process, which may finish a step with what its loader processes bring."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _place_among_processes() -> tuple[int, int]:
    """The number of this rank, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
