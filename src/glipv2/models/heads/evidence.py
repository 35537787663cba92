"""What the words of a question are aligned with in the image: how it looks, where it is, how large and how many."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glipv2.models.cross_attention import over_tokens
from glipv2.models.heads.looks import FeedForward, Look
from glipv2.structures import BoxConvention, RegionOutputs
from glipv2.structures.boxes import box_centers

EMPTY = -2.0  # logit of the place for words of which nothing is seen, between those of seen and unseen ones
LOUD = 4.0  # by which logits are divided to be of the size of the other numbers
SHORTEST_WAVE = 32.0  # pixels of the model-input frame; each further wave is twice as long
SURE = (0.2, 0.3, 0.4, 0.5)  # scores from which a region counts
MOST = 7  # objects of a word told apart by number; more are "many"
SAME = 0.5  # IoU above which two regions show one object
COUNTED = 512  # regions of an image that are counted: the best, since each is compared with each


class Evidence(nn.Module):
    """Tells each word of a question what it is aligned with, lets it look at the image, and words one another.

    The region head is taught where each word is seen: what a word's regions look like, where they are, how
    large and how many, is most of an answer already. It only listens: answers teach the alignment nothing.
    Beside the regions there is an empty place for words of which nothing is seen.
    """

    def __init__(
        self, text_width: int, width: int, heads: int, layers: int, waves: int, dropout: float, boxes: BoxConvention
    ) -> None:
        super().__init__()
        self.waves = waves
        self.convention = boxes
        self.words = nn.Linear(text_width, width)
        self.values = nn.Linear(width, width)
        self.boxes = nn.Linear(4 * waves + 4, width)
        self.amounts = nn.Linear(4 + len(SURE) * MOST, width)
        self.sharpness = nn.Parameter(torch.ones(()))
        self.empty = nn.Parameter(torch.tensor(EMPTY))
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(EvidenceLayer(width, heads, dropout) for _ in range(layers))
        self.output_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, readable: Tensor, rows: Tensor, regions: RegionOutputs) -> Tensor:
        """Words [B, L, W] from tokens [B, L, T], the image's rows [B, N, W] and its regions.

        readable bool [B, 1 or L, L]: which words each word is told of.
        """
        logits = regions.alignment_logits.detach().float()
        centerness = regions.centerness.detach().float()
        boxes = self.convention.decode(regions.box_deltas.detach().float(), regions.anchors)
        empty = self.empty.float().expand(len(logits), 1, logits.shape[-1])
        weights = torch.cat([logits * self.sharpness, empty], dim=1).softmax(dim=1)[:, :-1]
        values = self.values(rows)
        values = values + self.boxes(box_code(boxes, self.waves).to(values.dtype))
        seen = weights.transpose(1, 2).to(rows.dtype) @ values
        scores = (logits.sigmoid() * centerness.sigmoid()[..., None]).sqrt()
        amounts = torch.cat([_amounts(logits, centerness), _numbers(boxes, scores, self.convention)], dim=-1)
        words: Tensor = self.norm(self.words(tokens) + seen + self.amounts(amounts.to(seen.dtype)))
        for layer in self.layers:
            words = layer(words, readable, rows)
        normed: Tensor = self.output_norm(words)
        return normed


class EvidenceLayer(nn.Module):
    """Each word looks at the image, hears the other words, and thinks; norms come first, which trains from nothing."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.look = Look(width, heads, dropout)
        self.word_norm = nn.LayerNorm(width)
        self.heard = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.feedforward = FeedForward(width, dropout)

    def forward(self, words: Tensor, readable: Tensor, rows: Tensor) -> Tensor:
        """Words [B, L, W] to the same; readable bool [B, 1 or L, L]; rows [B, N, W] of the image."""
        words = self.look(words, rows)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.heard(self.word_norm(words)).chunk(3, dim=-1)
        )
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        found = (over_tokens(scores, readable) @ value).transpose(1, 2).flatten(2)
        thought: Tensor = self.feedforward(words + self.dropout(self.out(found)))
        return thought


def count_apart(boxes: Tensor, scores: Tensor, sure: Sequence[float], convention: BoxConvention) -> Tensor:
    """How many objects are scored above each of S bounds, [B, L, S]: boxes [B, N, 4] and their scores [B, N, L].

    Each counts as one over the number of those that show the same object, itself included, so that a
    cluster of regions is 1 however many it has. A plain sum would grow with the size of an object.
    """
    same = (convention.iou(boxes[:, :, None], boxes[:, None]) > SAME).float()
    there = (scores[..., None] > scores.new_tensor(sure)).float()
    alike: Tensor = (same @ there.flatten(2)).unflatten(2, there.shape[2:])
    return (there / alike.clamp(min=1)).sum(dim=1)


def _numbers(boxes: Tensor, scores: Tensor, convention: BoxConvention) -> Tensor:
    """`count_apart` for every bound as steps, [B, L, S · MOST]: 2.0 objects are 1, 1, 0, 0, …"""
    if boxes.shape[1] > COUNTED:
        best = scores.amax(dim=-1).topk(COUNTED, dim=1).indices[..., None]
        boxes = boxes.gather(1, best.expand(-1, -1, 4))
        scores = scores.gather(1, best.expand(-1, -1, scores.shape[-1]))
    steps = count_apart(boxes, scores, SURE, convention)[..., None] - torch.arange(MOST, device=boxes.device)
    return steps.clamp(0, 1).flatten(-2)


def _amounts(logits: Tensor, centerness: Tensor) -> Tensor:
    """How sure, and how many, the regions of each word are, [B, L, 4]: of logits [B, N, L], centerness [B, N]."""
    chances = logits.sigmoid()
    central = chances * centerness.sigmoid()[..., None]
    soft = (logits.amax(dim=1) / LOUD, logits.logsumexp(dim=1) / LOUD)
    return torch.stack([*soft, chances.sum(dim=1).log1p(), central.sum(dim=1).log1p()], dim=-1)


def box_code(boxes: Tensor, waves: int) -> Tensor:
    """Where boxes [B, N, 4] (pixels of the model's input) are and how large, [B, N, 4·waves + 4]."""
    centers = box_centers(boxes)
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1).log() / 2 - 1  # of 8 to 400 pixels: 0 to 2
    lengths = wave_lengths(waves, boxes.device)
    angles = centers[..., None] * (2 * math.pi / lengths)
    longest = SHORTEST_WAVE * 2.0 ** (waves - 1)
    return torch.cat([angles.sin().flatten(-2), angles.cos().flatten(-2), centers / longest * 4, sides], dim=-1)


def position_code(levels: tuple[Tensor, ...], first_stride: int, waves: int) -> Tensor:
    """Sine and cosine of x and y of every position of every level, [N, 4·waves], in pixels of the model's input.

    Absolute pixels, so that padding right and bottom changes no position.
    """
    lengths = wave_lengths(waves, levels[0].device)
    parts = []
    for index, level in enumerate(levels):
        stride = first_stride * 2**index
        y, x = ((torch.arange(side, device=level.device) + 0.5) * stride for side in level.shape[-2:])
        angles = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)[..., None] * (2 * math.pi / lengths)
        parts.append(torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(2).flatten(0, 1))
    return torch.cat(parts)


def wave_lengths(waves: int, device: torch.device) -> Tensor:
    """Of a sine code, in pixels: [waves]."""
    return SHORTEST_WAVE * 2.0 ** torch.arange(waves, device=device)
