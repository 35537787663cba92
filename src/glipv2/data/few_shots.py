"""A few training images of every name, for learning from little."""

from __future__ import annotations

import logging
import random
from collections import Counter

from glipv2.data.chosen import ChosenSamples
from glipv2.data.dataset import SampleDataset
from glipv2.errors import UserError

logger = logging.getLogger(__name__)


class FewShots(ChosenSamples):
    """Images, in an order drawn by `seed`, until every name has `shots` boxes; those that help no name are passed over.

    An image that is kept is kept whole: its boxes of names that have enough count too, and train (as in GLIP's
    few-shot runs, modulated_coco.py). Regions of crowds count for nothing. UserError where no image has a box.
    """

    def __init__(self, samples: SampleDataset, shots: int, seed: int) -> None:
        order = list(range(len(samples)))
        random.Random(seed).shuffle(order)
        missing = Counter(dict.fromkeys(range(len(samples.vocabulary)), shots))
        rows = []
        for row in order:
            truth = samples.truth(row)
            labels = truth.labels[~truth.is_crowd].tolist()
            if any(missing[label] > 0 for label in labels):
                rows.append(row)
                missing.subtract(labels)
        if not rows:
            raise UserError(f"data.shots={shots} chooses images by their boxes, but none of {len(order)} has one")
        super().__init__(samples, sorted(rows))
        short = sorted(samples.vocabulary.names[label] for label, count in missing.items() if count > 0)
        told = f"; {len(short)} names have fewer: {', '.join(short[:5])}{', …' * (len(short) > 5)}" if short else ""
        logger.info(
            "data.shots=%d, data.shots_seed=%d: trains on %d of %d images%s", shots, seed, len(rows), len(order), told
        )
