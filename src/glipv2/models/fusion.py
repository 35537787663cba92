"""Deep fusion: image and text read each other, then each thinks for itself, several times over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glipv2.errors import UserError
from glipv2.kernels import Sampling
from glipv2.models.cross_attention import CrossAttention, ImageRows, over_tokens
from glipv2.models.dyconv import DyConv
from glipv2.ranges import at_least, share
from glipv2.structures import TextBatch


@dataclass
class FusionConfig:
    """The tower of [cross-attention, text layer, DyConv].

    cross_attention: whether image and text read each other at all (GLIP-T (A) does not, and its
    tower has no text layer either); crossing: in how many of the last layers they do (0 = in all).
    attention_width and heads: of the cross-attention; text_heads and text_feedforward: of the text
    layer. groups: of the GroupNorms. deformable: False puts plain convolutions into DyConv.
    reread_offsets: the released kernel's reading of offsets, see `dyconv.offsets_for`; imported weights
    need it. sampling: how deformable convolutions are computed (auto, torchvision, gather, compiled);
    changes nothing but time.
    """

    layers: int = at_least(0, 6)
    cross_attention: bool = True
    crossing: int = at_least(0, 0)
    attention_width: int = at_least(1, 2048)
    heads: int = at_least(1, 8)
    text_heads: int = at_least(1, 12)
    text_feedforward: int = at_least(1, 3072)
    dropout: float = share(0.1)
    groups: int = at_least(1, 16)
    deformable: bool = True
    reread_offsets: bool = False
    sampling: str = Sampling.AUTO.value

    def build(self, image_width: int, text_width: int) -> FusionTower:
        """The tower for pyramid levels of `image_width` and tokens of `text_width` channels; UserError if uneven."""
        if self.crossing > self.layers:
            raise UserError(
                f"model.fusion.crossing: expected at most model.fusion.layers, {self.layers}, but got {self.crossing}"
            )
        parts = [("groups", self.groups, "model.image.width", image_width)]
        if self.cross_attention:
            parts += [("heads", self.heads, "model.fusion.attention_width", self.attention_width)]
            parts += [("text_heads", self.text_heads, "the text encoder's width", text_width)]
        for name, count, whole, width in parts:
            if width % count:
                raise UserError(f"model.fusion.{name}: expected a divisor of {whole}, {width}, but got {count}")
        return FusionTower(self, image_width, text_width)


class TextLayer(nn.Module):
    """A post-norm BERT layer; its ±50 000 clamps change nothing in exact arithmetic and are left out."""

    def __init__(self, config: FusionConfig, width: int) -> None:
        super().__init__()
        self.heads = config.text_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.expand = nn.Linear(width, config.text_feedforward)
        self.contract = nn.Linear(config.text_feedforward, width)
        self.output_norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, text: Tensor, readable: Tensor) -> Tensor:
        """[B, L, T] to [B, L, T]; readable bool [B, 1 or L, L]: which tokens each token reads."""
        query, key, value = (
            layer(text).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        attended = self.dropout(over_tokens(scores, readable)) @ value
        text = self.attention_norm(text + self.dropout(self.out(attended.transpose(1, 2).flatten(2))))
        return self.output_norm(text + self.dropout(self.contract(F.gelu(self.expand(text)))))  # type: ignore[no-any-return]


class FusionLayer(nn.Module):
    """Cross-attention over all levels at once, then the text layer, then DyConv."""

    def __init__(self, config: FusionConfig, image_width: int, text_width: int, crosses: bool = True) -> None:
        super().__init__()
        self.cross = CrossAttention(config, image_width, text_width) if crosses else None
        self.text = TextLayer(config, text_width) if crosses else None
        self.image = DyConv(
            image_width, config.groups, config.deformable, config.reread_offsets, sampling_of(config.sampling)
        )

    def forward(
        self, levels: tuple[Tensor, ...], tokens: Tensor, text: TextBatch, image_reads: bool
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        if self.cross is not None and self.text is not None:
            if image_reads:
                flat, tokens = self.cross(flatten_levels(levels), tokens, text.token_mask)
            else:
                flat, rows = self.cross.of_image(flatten_levels(levels), tokens.shape[1])
                tokens = self.cross.of_text(tokens, rows)
            levels = unflatten_levels(flat, levels)
            tokens = self.text(tokens, text.readable())
        return self.image(levels), tokens


def sampling_of(name: str) -> Sampling:
    """The choice of that name; UserError for one that there is not."""
    names = [choice.value for choice in Sampling]
    if name not in names:
        raise UserError(f"model.fusion.sampling: expected one of {', '.join(names)}, but got '{name}'")
    return Sampling(name)


class FusionTower(nn.Module):
    """All fusion layers, one after the other."""

    def __init__(self, config: FusionConfig, image_width: int, text_width: int) -> None:
        super().__init__()
        first = config.layers - (config.crossing or config.layers)
        self.layers = nn.ModuleList(
            FusionLayer(config, image_width, text_width, config.cross_attention and place >= first)
            for place in range(config.layers)
        )

    def forward(
        self, levels: tuple[Tensor, ...], tokens: Tensor, text: TextBatch, image_reads: bool = True
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """levels [B, D, H_l, W_l] and the encoded tokens [B, L, T] of a text to the fused pair of the same shapes."""
        for layer in self.layers:
            levels, tokens = layer(levels, tokens, text, image_reads)
        return levels, tokens

    def image_path(self, levels: tuple[Tensor, ...], tokens: int) -> tuple[ImageRows, ...]:
        """The tower for images that read no text: what any number of texts may then read of them, for each layer
        in which they do.

        tokens: how many will read each image in all, about; they decide how it is kept, not what is read.
        """
        path: list[ImageRows] = []
        last = len(self.layers) - 1
        for place, layer in enumerate(self.layers):
            assert isinstance(layer, FusionLayer)
            if layer.cross is not None:
                flat, rows = layer.cross.of_image(flatten_levels(levels), tokens)
                path.append(rows)
                levels = unflatten_levels(flat, levels)
            if place < last:  # nobody reads what the last layer would make of the image
                levels = layer.image(levels)
        assert path, "no text reads these images"
        return tuple(path)

    def text_path(self, text: TextBatch, tokens: Tensor, path: Sequence[ImageRows]) -> Tensor:
        """Encoded tokens [K·B, L, T] to fused ones, each told from those before it and from the image."""
        readable = text.causal_mask()
        crossing = [layer for layer in self.layers if isinstance(layer, FusionLayer) and layer.cross is not None]
        for layer, rows in zip(crossing, path, strict=True):
            assert layer.cross is not None and layer.text is not None
            tokens = layer.text(layer.cross.of_text(tokens, rows), readable)
        return tokens


def flatten_levels(levels: tuple[Tensor, ...]) -> Tensor:
    """Maps [B, D, H_l, W_l] to one row a position, [B, N, D], row-major, finest level first."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)


def unflatten_levels(rows: Tensor, like: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The inverse of `flatten_levels`, with the shapes of `like`."""
    parts = rows.split([level.shape[-2] * level.shape[-1] for level in like], dim=1)
    return tuple(
        part.transpose(1, 2).unflatten(2, (level.shape[-2], level.shape[-1]))
        for part, level in zip(parts, like, strict=True)
    )
