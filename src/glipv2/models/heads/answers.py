"""The answer head: from a question and an image that have read each other to one of the known answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glipv2.errors import UserError
from glipv2.models.fusion import flatten_levels
from glipv2.models.heads.evidence import Evidence, position_code
from glipv2.models.heads.looks import FeedForward, Look
from glipv2.ranges import at_least, share
from glipv2.structures import BoxConvention, Features, RegionOutputs, TextBatch


@dataclass
class AnswerHeadConfig:
    """How a fused question and image become an answer.

    width: of everything inside; heads: of its attentions; layers: in which the words of a question look at the
    image and tell one another what they are aligned with; looks: how often the question as a whole looks at the
    image then, each look knowing what the former ones saw ("the object left of the star" needs two); waves: of the
    sine code of each position: the fused features hardly say where they are. exclusive: one answer is right
    (softmax, cross-entropy); else each is judged alone (sigmoid, as is usual on VQA v2).
    """

    width: int = at_least(1, 256)
    heads: int = at_least(1, 8)
    layers: int = at_least(0, 3)
    looks: int = at_least(0, 2)
    waves: int = at_least(1, 6)
    dropout: float = share(0.1)
    exclusive: bool = True

    def build(
        self, image_width: int, text_width: int, levels: int, first_stride: int, answers: int,
        boxes: BoxConvention,
    ) -> AnswerHead:  # fmt: skip
        """The head for `levels` pyramid levels, the finest of `first_stride`, and a choice of `answers`.

        boxes: how the region head's boxes are measured. UserError for a sine code without waves.
        """
        if self.waves < 1:
            raise UserError(f"model.answers.waves: expected at least 1, but got {self.waves}")
        return AnswerHead(self, image_width, text_width, levels, first_stride, answers, boxes)


class AnswerHead(nn.Module):
    """Grounds the words of a question, pools them, looks at the image with that, and chooses among A answers."""

    def __init__(
        self, config: AnswerHeadConfig, image_width: int, text_width: int, levels: int, first_stride: int, answers: int,
        boxes: BoxConvention,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self.first_stride = first_stride
        width, heads, dropout = config.width, config.heads, config.dropout
        self.evidence = Evidence(text_width, width, heads, config.layers, config.waves, dropout, boxes)
        self.token_scores = nn.Linear(config.width, 1)
        self.question = nn.Linear(2 * config.width, config.width)
        self.rows = nn.Linear(image_width, config.width)
        self.places = nn.Linear(4 * config.waves, config.width, bias=False)
        self.levels = nn.Parameter(torch.zeros(levels, config.width))
        self.row_norm = nn.LayerNorm(config.width)
        self.looks = nn.ModuleList(Look(width, heads, dropout) for _ in range(config.looks))
        self.thoughts = nn.ModuleList(FeedForward(width, dropout) for _ in range(config.looks))
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
        for look, thought in zip(self.looks, self.thoughts, strict=True):
            seen = thought(look(seen, rows))
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
        rows = rows + self.levels[index] + self.places(position_code(levels, self.first_stride, self.config.waves))
        normed: Tensor = self.row_norm(rows)
        return normed
