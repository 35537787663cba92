"""What every data set offers, and the config that every `data` preset shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from glipv2.data.augment import AugmentConfig
from glipv2.data.prompts import PromptConfig
from glipv2.errors import UserError, nearest
from glipv2.structures import Sample, Vocabulary


class SampleDataset(Protocol):
    """Typed samples in original pixels over one vocabulary.

    AP is averaged over `scored_names`; `answers` are those that its questions can be taught with.
    """

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def scored_names(self) -> tuple[str, ...]: ...

    @property
    def answers(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass
class DataConfig:
    """Base of every data preset: loading, prompts and augmentation.

    workers: loader processes (0 = in the training process). split: what `evaluate` scores.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"boxes"})
    splits: ClassVar[tuple[str, ...]] = ("train", "val")

    batch_size: int = 16
    eval_batch_size: int = 32
    workers: int = 1
    prompts: PromptConfig = field(default_factory=PromptConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def dataset(self, split: str, needs: frozenset[str] = frozenset()) -> SampleDataset:
        """The samples of a split that hold all of `needs`; UserError when the data can't be read."""
        raise NotImplementedError(f"{type(self).__name__} must define dataset(split, needs)")

    def check_split(self, split: str) -> None:
        """UserError with the choices when there is no such split."""
        if split not in self.splits:
            raise UserError(f"split '{split}' is unknown to this data set; {nearest(split, self.splits)}")
