"""How states of a question look at an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Look(nn.Module):
    """Attention of states [B, K, W] over image rows [B, N, W], added to the states.

    Beside the rows there is an empty place to attend to: how much attention it leaves to the rest tells
    how much there is of what was looked for, which a weighted mean alone can't.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.empty = nn.Parameter(torch.zeros(heads))
        self.state_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, rows: Tensor) -> Tensor:
        """The states after the look, [B, K, W]."""
        query, key, value = (
            layer(some).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, some in ((self.query, self.state_norm(states)), (self.key, rows), (self.value, rows))
        )
        scores = (query @ key.transpose(-2, -1)).float() * query.shape[-1] ** -0.5  # [B, heads, K, N]
        empty = self.empty.float()[None, :, None, None] + math.log(rows.shape[1])  # at first half of all attention
        weights = torch.cat([scores, empty.expand(*scores.shape[:-1], 1)], dim=-1).softmax(dim=-1)[..., :-1]
        seen = (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        found: Tensor = states + self.dropout(self.out(seen))
        return found


class FeedForward(nn.Module):
    """States [B, K, W] thought over, each alone, and added to themselves."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, states: Tensor) -> Tensor:
        """[B, K, W] to [B, K, W]."""
        found: Tensor = states + self.layers(states)
        return found
