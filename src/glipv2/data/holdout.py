"""A validation split for data that has none: a share of the images, the same ones in every run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch.utils.data import Dataset

from glipv2.data.dataset import SampleDataset
from glipv2.data.joined import JoinedDataset
from glipv2.errors import UserError
from glipv2.structures import ImageTruth, Sample, Vocabulary


class HoldoutPart(Dataset[Sample]):
    """One side of a division by the names of images: the share held out, or all others.

    The images whose hashed names come first are held out, so that neither their order nor the machine matters; at
    least one image falls on each side. UserError for fewer than two images and a share that is not between 0 and 1.
    """

    def __init__(self, samples: SampleDataset, share: float, held_out: bool) -> None:
        self.samples = samples
        count = len(samples)
        if not 0 < share < 1:
            raise UserError(f"data.holdout: expected a share between 0 and 1, but got {share}")
        if count < 2:
            raise UserError(f"data.holdout={share} needs two images or more, but there is {count}; name a val split")
        held = min(max(round(share * count), 1), count - 1)
        order = sorted(range(count), key=lambda row: _digest(samples.truth(row).name))
        self._rows = sorted(order[:held] if held_out else order[held:])

    @property
    def folder(self) -> Path | None:
        """Where the pictures lie."""
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


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
