"""The answer head: from a question and an image that have read each other to one of the known answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glipv2.models.fusion import FusionConfig, TextLayer, flatten_levels
from glipv2.ranges import at_least, share
from glipv2.structures import Features, RegionOutputs, TextBatch

EMPTY = -2.0  # logit of the place for words of which nothing is seen, between those of seen and unseen ones
LOUD = 4.0  # by which logits are divided to be of the size of the other numbers
SHORTEST_WAVE = 32.0  # pixels of the model-input frame; each further wave is twice as long


@dataclass
class AnswerHeadConfig:
    """How a fused question and image become an answer.

    width: of everything inside; heads: of its attentions; layers: in which the words of a question tell one
    another what they are aligned with; looks: how often the image is attended to then, each look knowing
    what the former ones saw ("the object left of the star" needs two); waves: of the sine code of each
    position, 0 = none: the fused features hardly say where they are. exclusive: one answer is right
    (softmax, cross-entropy); else each is judged alone (sigmoid, as is usual on VQA v2).
    """

    width: int = at_least(1, 256)
    heads: int = at_least(1, 8)
    layers: int = at_least(0, 2)
    looks: int = at_least(0, 2)
    waves: int = at_least(0, 6)
    dropout: float = share(0.1)
    exclusive: bool = True

    def build(self, image_width: int, text_width: int, levels: int, first_stride: int, answers: int) -> AnswerHead:
        """The head for `levels` pyramid levels, the finest of `first_stride`, and a choice of `answers`."""
        return AnswerHead(self, image_width, text_width, levels, first_stride, answers)


class AnswerHead(nn.Module):
    """Grounds the words of a question, pools them, looks at the image with that, and chooses among A answers."""

    def __init__(
        self, config: AnswerHeadConfig, image_width: int, text_width: int, levels: int, first_stride: int, answers: int
    ) -> None:
        super().__init__()
        self.config = config
        self.first_stride = first_stride
        self.evidence = Evidence(config, text_width)
        self.token_scores = nn.Linear(config.width, 1)
        self.question = nn.Linear(2 * config.width, config.width)
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

    def forward(self, features: Features, text: TextBatch, regions: RegionOutputs) -> Tensor:
        """Logits [B, K, A] of at most K questions a row of the text, see `TextBatch.segment_map`.

        features: after fusion; regions: what the region head makes of them. What is said of a question
        without tokens means nothing.
        """
        rows = self._rows(features.levels)
        tokens = self.evidence(features.tokens, text.readable(), rows, regions)
        asked = self.question(self._pooled(tokens, text.segment_map()))
        seen = asked
        for look in self.looks:
            seen = look(seen, rows)
        logits: Tensor = self.classifier(torch.cat([asked, seen, asked * seen], dim=-1))
        return logits.float()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of each answer, as the head was trained."""
        return logits.softmax(dim=-1) if self.config.exclusive else logits.sigmoid()

    def _pooled(self, tokens: Tensor, questions: Tensor) -> Tensor:
        """The first token of each question, [CLS], beside a weighted mean of all of its own: [B, K, 2·W]."""
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


class Evidence(nn.Module):
    """Tells each word of a question what it is aligned with, and the words one another.

    The region head is taught where each word is seen: what a word's regions look like, where they are and how
    many are sure is most of an answer already. It only listens: answers teach the alignment nothing. Beside
    the regions there is an empty place for words of which nothing is seen. Measured after 200 steps from a
    detector's weights (docs/tasks.md): accuracy 0.58 with it, 0.50 with looks at the image alone.
    """

    def __init__(self, config: AnswerHeadConfig, text_width: int) -> None:
        super().__init__()
        width = config.width
        self.words = nn.Linear(text_width, width)
        self.values = nn.Linear(width, width)
        self.amounts = nn.Linear(4, width)
        self.sharpness = nn.Parameter(torch.ones(()))
        self.empty = nn.Parameter(torch.tensor(EMPTY))
        self.norm = nn.LayerNorm(width)
        layer = FusionConfig(text_heads=config.heads, text_feedforward=2 * width, dropout=config.dropout)
        self.layers = nn.ModuleList(TextLayer(layer, width) for _ in range(config.layers))

    def forward(self, tokens: Tensor, readable: Tensor, rows: Tensor, regions: RegionOutputs) -> Tensor:
        """Words [B, L, W] from tokens [B, L, T], the image's rows [B, N, W] and its regions.

        readable bool [B, 1 or L, L]: which words each word is told of.
        """
        logits = regions.alignment_logits.detach().float()
        empty = self.empty.float().expand(len(logits), 1, logits.shape[-1])
        weights = torch.cat([logits * self.sharpness, empty], dim=1).softmax(dim=1)[:, :-1]
        seen = weights.transpose(1, 2).to(rows.dtype) @ self.values(rows)
        amounts = _amounts(logits, regions.centerness.detach().float())
        words: Tensor = self.norm(self.words(tokens) + seen + self.amounts(amounts.to(seen.dtype)))
        for layer in self.layers:
            words = layer(words, readable)
        return words


def _amounts(logits: Tensor, centerness: Tensor) -> Tensor:
    """How sure, and how many, the regions of each word are, [B, L, 4]: of logits [B, N, L], centerness [B, N]."""
    chances = logits.sigmoid()
    central = chances * centerness.sigmoid()[..., None]
    soft = (logits.amax(dim=1) / LOUD, logits.logsumexp(dim=1) / LOUD)
    return torch.stack([*soft, chances.sum(dim=1).log1p(), central.sum(dim=1).log1p()], dim=-1)


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
