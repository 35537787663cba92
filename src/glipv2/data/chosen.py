"""Some of the samples of a data set, which stays what it is in all else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import Dataset

from glipv2.data.dataset import SampleDataset
from glipv2.data.joined import JoinedDataset
from glipv2.structures import ImageTruth, Sample, Vocabulary


class ChosenSamples(Dataset[Sample]):
    """The samples in the given rows, in their order; names, answers and folder are those of all."""

    def __init__(self, samples: SampleDataset, rows: Sequence[int]) -> None:
        self.samples = samples
        self._rows = list(rows)

    @property
    def folder(self) -> Path | None:
        """Where the pictures lie, None where there are no files."""
        images = self.samples.images if isinstance(self.samples, JoinedDataset) else self.samples
        return getattr(images, "folder", None)

    @property
    def vocabulary(self) -> Vocabulary:
        """That of all samples."""
        return self.samples.vocabulary

    @property
    def scored_names(self) -> tuple[str, ...]:
        """Those of all samples."""
        return self.samples.scored_names

    @property
    def answers(self) -> tuple[str, ...]:
        """Those of all samples."""
        return self.samples.answers

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[self._rows[index]]

    def truth(self, index: int) -> ImageTruth:
        """All of a sample but its picture."""
        return self.samples.truth(self._rows[index])
