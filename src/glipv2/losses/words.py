"""Masked words: what stood there is told from the other words and from the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glipv2.losses.ranks import shared_count
from glipv2.ranges import at_least, share
from glipv2.structures.luck import CHOSEN_WORDS, MASKED_WORDS, OTHER_WORDS, uniform

IGNORED = -100


@dataclass
class MaskedWordsConfig:
    """weight: of the loss (0 = nothing is masked); probability: of masking a word that may be masked;
    of the masked, `hidden` become [MASK] and `replaced` a random word, the rest stay as they are (BERT).
    """

    weight: float = at_least(0, 1.0)
    probability: float = share(0.15)
    hidden: float = share(0.8)
    replaced: float = share(0.1)


def mask_words(
    token_ids: Tensor, maskable: Tensor, mask_id: int, vocab_size: int, config: MaskedWordsConfig,
    seeds: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Ids [B, L] with some of the `maskable` (bool [B, L]) changed, and what stood there, IGNORED elsewhere.

    seeds int64 [B]: see `uniform`.
    """
    rows, length = token_ids.shape
    luck, fate, other = (
        uniform(seeds, length, purpose, rows, token_ids.device) for purpose in (CHOSEN_WORDS, MASKED_WORDS, OTHER_WORDS)
    )
    chosen = maskable & (luck < config.probability)
    targets = token_ids.masked_fill(~chosen, IGNORED)
    others = (other * vocab_size).long()
    changed = torch.where(chosen & (fate < config.hidden), mask_id, token_ids)
    replaced = chosen & (fate >= config.hidden) & (fate < config.hidden + config.replaced)
    return torch.where(replaced, others, changed), targets


def word_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits [K, V] over targets [K], those of all ranks; 0 when all are IGNORED."""
    count = shared_count((targets != IGNORED).sum())
    total = F.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)
    return total / count
