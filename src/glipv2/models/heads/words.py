"""From a token's features to the word that stands there: for masked words and for captions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WordHead(nn.Module):
    """Matches a token's transformed features with every word's embedding, as BERT's own head does."""

    def __init__(self, text_width: int, vocab_size: int) -> None:
        super().__init__()
        self.transform = nn.Linear(text_width, text_width)
        self.norm = nn.LayerNorm(text_width)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, tokens: Tensor, embeddings: Tensor) -> Tensor:
        """tokens [..., T] and the text encoder's word embeddings [V', T] (V' ≥ V rows) to logits [..., V]."""
        hidden = self.norm(F.gelu(self.transform(tokens)))
        return F.linear(hidden, embeddings[: self.bias.shape[0]], self.bias)
