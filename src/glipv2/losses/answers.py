"""Answers: what is right against what the head thinks of every answer it knows."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from glipv2.losses.ranks import shared_count


def answer_loss(logits: Tensor, rightness: Tensor, exclusive: bool) -> Tensor:
    """Scalar from logits [Q, A] and how right each answer is, float [Q, A] in [0, 1].

    exclusive: mean cross-entropy over the questions that have a right answer, several sharing the target in
    proportion; 0 without any. Else binary cross-entropy of each answer, summed over the answers, mean over
    the questions (the usual loss on VQA v2); a question without a right answer then teaches that all are wrong.
    Means are over the questions of all ranks.
    """
    logits = logits.float()
    if not exclusive:
        total = F.binary_cross_entropy_with_logits(logits, rightness, reduction="sum")
        return total / shared_count(logits.new_tensor(len(logits)))
    sums = rightness.sum(dim=1, keepdim=True)
    targets = rightness / sums.clamp(min=1e-6)
    return -(targets * logits.log_softmax(dim=1)).sum() / shared_count((sums > 0).sum())
