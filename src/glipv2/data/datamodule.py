"""Loaders for one run: the same code for training, validation, and evaluation of any split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from glipv2.data.dataset import DataConfig, SampleDataset
from glipv2.data.transforms import Example, ExampleDataset
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig
from glipv2.structures import Vocabulary

Collator = Callable[[Sequence[Example]], Any]
MakeCollator = Callable[[SampleDataset, bool], Collator]  # (samples, training)


class DataModule(pl.LightningDataModule):
    """Wraps a data preset in loaders; the task says how examples become its batches.

    eval_split: what validation scores. Opens its data sets at once, so that faults show before step 0.
    """

    def __init__(
        self, config: DataConfig, pixels: PixelConfig, make_collator: MakeCollator, *, train: bool, eval_split: str
    ) -> None:
        super().__init__()
        self.config = config
        self.pixels = pixels
        self.make_collator = make_collator
        self.train_samples = config.dataset("train") if train else None
        self.eval_samples = config.dataset(eval_split)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that is trained on, or evaluated when nothing is trained."""
        return (self.train_samples or self.eval_samples).vocabulary

    def train_dataloader(self) -> DataLoader[Example]:
        """Shuffled and augmented."""
        assert self.train_samples is not None, "this data module was opened for evaluation only"
        examples = ExampleDataset(self.train_samples, self.pixels, self.config.augment)
        if len(examples) < self.config.batch_size:
            raise UserError(
                f"data.batch_size is {self.config.batch_size}, but training has only {len(examples)} images"
            )
        return self._loader(examples, training=True)

    def val_dataloader(self) -> DataLoader[Example]:
        """In order, resized only."""
        return self._loader(ExampleDataset(self.eval_samples, self.pixels, None), training=False)

    def _loader(self, examples: ExampleDataset, *, training: bool) -> DataLoader[Example]:
        samples: SampleDataset = examples.samples
        return DataLoader(
            examples,
            batch_size=self.config.batch_size if training else self.config.eval_batch_size,
            shuffle=training,
            drop_last=training,
            num_workers=self.config.workers,
            persistent_workers=self.config.workers > 0 and training,
            collate_fn=self.make_collator(samples, training),
        )
