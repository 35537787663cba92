"""What every data set offers, and the config that every `data` preset shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from glipv2.data.augment import AugmentConfig
from glipv2.data.prompts import PromptConfig
from glipv2.errors import UserError, nearest, undefined
from glipv2.ranges import at_least
from glipv2.structures import ImageTruth, Sample, Vocabulary


class SampleDataset(Protocol):
    """Typed samples in original pixels over one vocabulary.

    AP is averaged over `scored_names`; `answers` are those that its questions can be taught with. `truth` is all of a
    sample but its picture, which is not decoded for it.
    """

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def scored_names(self) -> tuple[str, ...]: ...

    @property
    def answers(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...

    def truth(self, index: int, /) -> ImageTruth: ...


@dataclass
class DataConfig:
    """Base of every data preset: loading, prompts and augmentation.

    provides: what samples of this kind of data can hold; whether they do may depend on files (`check_needs`).
    workers: loader processes (0 = in the training process). split: what `evaluate` scores.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"boxes"})
    splits: ClassVar[tuple[str, ...]] = ("train", "val")

    batch_size: int = at_least(1, 16)
    eval_batch_size: int = at_least(1, 32)
    workers: int = at_least(0, 1)
    prompts: PromptConfig = field(default_factory=PromptConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def dataset(self, split: str, needs: frozenset[str] = frozenset()) -> SampleDataset:
        """The samples of a split that hold all of `needs`; UserError when the data can't be read."""
        raise undefined(self, "dataset(split, needs)")

    def holds(self, split: str, needs: frozenset[str]) -> frozenset[str]:
        """What the samples of `dataset(split, needs)` hold, which may be more than `needs`."""
        return self.provides

    def check_needs(self, needs: frozenset[str], splits: Iterable[str], who: str) -> None:
        """UserError when the samples of one of the splits can't hold all of `needs`; who: needs them (task=vqa)."""
        lacking = needs - self.provides
        if lacking:
            raise UserError(
                f"{who} needs {', '.join(sorted(lacking))}, which {type(self).__name__} does not provide "
                f"(it provides {', '.join(sorted(self.provides))}); choose another data= or task="
            )

    @property
    def skips_faults(self) -> bool:
        """Whether faulty records and pictures are left out and counted, instead of refused."""
        return getattr(self, "on_error", "raise") == "skip"

    def check_split(self, split: str) -> None:
        """UserError with the choices when there is no such split."""
        if split not in self.splits:
            raise UserError(f"split '{split}' is unknown to this data set; {nearest(split, self.splits)}")
