"""The answer head: from a question and an image that have read each other to one of the known answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glipv2.models.fusion import flatten_levels
from glipv2.structures import Features

SHORTEST_WAVE = 32.0  # pixels of the model-input frame; each further wave is twice as long


@dataclass
class AnswerHeadConfig:
    """How a fused question and image become an answer.

    width: of everything inside; heads: of the attention over the image; looks: how often it is attended
    to, each look knowing what the former ones saw ("the object left of the star" needs two); waves: of the
    sine code of each position, 0 = none: the fused features hardly say where they are. exclusive: one answer
    is right (softmax, cross-entropy); else each is judged alone (sigmoid, as is usual on VQA v2).
    """

    width: int = 256
    heads: int = 8
    looks: int = 2
    waves: int = 6
    dropout: float = 0.1
    exclusive: bool = True

    def build(self, image_width: int, text_width: int, levels: int, first_stride: int, answers: int) -> AnswerHead:
        """The head for `levels` pyramid levels, the finest of `first_stride`, and a choice of `answers`."""
        return AnswerHead(self, image_width, text_width, levels, first_stride, answers)


class AnswerHead(nn.Module):
    """Pools the question, looks at the image with it, and chooses among A answers."""

    def __init__(
        self, config: AnswerHeadConfig, image_width: int, text_width: int, levels: int, first_stride: int, answers: int
    ) -> None:
        super().__init__()
        self.config = config
        self.first_stride = first_stride
        self.token_scores = nn.Linear(text_width, 1)
        self.question = nn.Linear(2 * text_width, config.width)
        self.rows = nn.Linear(image_width, config.width)
        self.places = nn.Linear(4 * config.waves, config.width, bias=False) if config.waves else None
        self.levels = nn.Parameter(torch.zeros(levels, config.width))
        self.row_norm = nn.LayerNorm(config.width)
        self.looks = nn.ModuleList(Look(config) for _ in range(config.looks))
        self.classifier = nn.Sequential(
            nn.Linear(3 * config.width, 2 * config.width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * config.width, answers),
        )

    def forward(self, features: Features, questions: Tensor) -> Tensor:
        """Logits [B, K, A] of at most K questions a row, from features after fusion.

        questions bool [B, K, L]: the tokens of each; what is said of one without tokens means nothing.
        """
        asked = self.question(self._pooled(features.tokens, questions))
        rows = self._rows(features.levels)
        seen = asked
        for look in self.looks:
            seen = look(seen, rows)
        logits: Tensor = self.classifier(torch.cat([asked, seen, asked * seen], dim=-1))
        return logits.float()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of each answer, as the head was trained."""
        return logits.softmax(dim=-1) if self.config.exclusive else logits.sigmoid()

    def _pooled(self, tokens: Tensor, questions: Tensor) -> Tensor:
        """The first token of each question, [CLS], beside a weighted mean of all of its own: [B, K, 2·T]."""
        own = questions | ~questions.any(dim=-1, keepdim=True)  # a question without tokens has all, not none
        scores = self.token_scores(tokens)[..., 0].float()[:, None].masked_fill(~own, float("-inf"))
        means = scores.softmax(dim=-1).to(tokens.dtype) @ tokens
        first = own.int().argmax(dim=-1, keepdim=True).expand(-1, -1, tokens.shape[-1])
        return torch.cat([tokens.gather(1, first), means], dim=-1)

    def _rows(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Every position of every level, which know where and of which level they are: [B, N, W]."""
        rows = self.rows(flatten_levels(levels))
        index = torch.cat([torch.full((level[0, 0].numel(),), i) for i, level in enumerate(levels)]).to(rows.device)
        rows = rows + self.levels[index]
        if self.places is not None:
            rows = rows + self.places(position_code(levels, self.first_stride, self.config.waves))
        normed: Tensor = self.row_norm(rows)
        return normed


class Look(nn.Module):
    """Attention of states [B, K, W] over image rows [B, N, W], and a feed-forward layer.

    Beside the rows there is an empty place to attend to: how much attention it leaves to the rest tells
    how much there is of what was looked for, which a weighted mean alone can't.
    """

    def __init__(self, config: AnswerHeadConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.empty = nn.Parameter(torch.zeros(config.heads))
        self.state_norm = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, state: Tensor, rows: Tensor) -> Tensor:
        """The states after the look, [B, K, W]."""
        query, key, value = (
            layer(some).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, some in ((self.query, self.state_norm(state)), (self.key, rows), (self.value, rows))
        )
        scores = (query @ key.transpose(-2, -1)).float() * query.shape[-1] ** -0.5  # [B, heads, K, N]
        empty = self.empty.float()[None, :, None, None] + math.log(rows.shape[1])  # at first half of all attention
        weights = torch.cat([scores, empty.expand(*scores.shape[:-1], 1)], dim=-1).softmax(dim=-1)[..., :-1]
        seen = (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        state = state + self.dropout(self.out(seen))
        result: Tensor = state + self.dropout(self.feedforward(state))
        return result


def position_code(levels: tuple[Tensor, ...], first_stride: int, waves: int) -> Tensor:
    """Sine and cosine of x and y of every position of every level, [N, 4·waves], in pixels of the model's input.

    Absolute pixels, so that padding right and bottom changes no position.
    """
    lengths = SHORTEST_WAVE * 2.0 ** torch.arange(waves, device=levels[0].device)
    parts = []
    for index, level in enumerate(levels):
        stride = first_stride * 2**index
        y, x = ((torch.arange(side, device=level.device) + 0.5) * stride for side in level.shape[-2:])
        angles = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)[..., None] * (2 * math.pi / lengths)
        parts.append(torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(2).flatten(0, 1))
    return torch.cat(parts)
