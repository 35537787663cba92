"""A validation split for data that has none: a share of the images, the same ones in every run."""

from __future__ import annotations

import hashlib

from glipv2.data.chosen import ChosenSamples
from glipv2.data.dataset import SampleDataset
from glipv2.errors import UserError


class HoldoutPart(ChosenSamples):
    """One side of a division by the names of images: the share held out, or all others.

    The images whose hashed names come first are held out, so that neither their order nor the machine matters; at
    least one image falls on each side. UserError for fewer than two images and a share that is not between 0 and 1.
    """

    def __init__(self, samples: SampleDataset, share: float, held_out: bool) -> None:
        count = len(samples)
        if not 0 < share < 1:
            raise UserError(f"data.holdout: expected a share between 0 and 1, but got {share}")
        if count < 2:
            raise UserError(f"data.holdout={share} needs two images or more, but there is {count}; name a val split")
        held = min(max(round(share * count), 1), count - 1)
        order = sorted(range(count), key=lambda row: _digest(samples.truth(row).name))
        super().__init__(samples, sorted(order[:held] if held_out else order[held:]))


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
