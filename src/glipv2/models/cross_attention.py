"""Cross-attention between a long pyramid and a short text (X-MHA), folded onto the text where that is cheaper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from glipv2.kernels import folding_is_cheaper
from glipv2.structures import TensorStruct

if TYPE_CHECKING:
    from glipv2.models.fusion import FusionConfig

# Scores held at once where no gradient is needed: on a CPU they stay in the cache, elsewhere starting a kernel counts
BLOCK_OF_SCORES = {"cpu": 2**19, "other": 2**26}


@dataclass(frozen=True)
class ImageRows(TensorStruct):
    """What texts read of images in one layer.

    image [B, N, D]: the normed positions; projected: queries and values [B, heads, N, A / heads] of them, or None
    where texts are folded onto the image's own width instead.
    """

    image: Tensor
    projected: tuple[Tensor, Tensor] | None

    def of(self, images: Tensor) -> ImageRows:
        """The rows of some images, by indices int64 [Q]."""
        projected = None if self.projected is None else (self.projected[0][images], self.projected[1][images])
        return ImageRows(self.image[images], projected)


@dataclass(frozen=True)
class FoldedText:
    """A text in the image's width, for the positions v of an image: K = heads · L rows, the heads one after the other.

    keys [B, K, D] and key_bias [B, 1, K]: scores are v · keysᵀ + key_bias; key_bias shuts out padding.
    values [B, K, D]: what a position reads is probabilities · values, before the output's bias.
    """

    keys: Tensor
    key_bias: Tensor
    values: Tensor


class CrossAttention(nn.Module):
    """Bidirectional multi-head attention between all pyramid positions and the tokens (X-MHA).

    Both directions share one score matrix: softmax over the tokens tells the image, softmax over
    the positions tells the text. As released, each stream is *replaced* by its LayerNorm before the
    scaled update is added, text padding is masked, and image padding is not.

    Folded, the same numbers come from Q Kᵀ = v (W_q Kᵀ), A V W_o = A (V W_o) and Aᵀ (v W_v) = (Aᵀ v) W_v: every
    product of the attention's width then has the text's length, not the image's. See `folding_is_cheaper`.
    """

    def __init__(self, config: FusionConfig, image_width: int, text_width: int) -> None:
        super().__init__()
        width = config.attention_width
        self.heads = config.heads
        self.dropout = nn.Dropout(config.dropout)
        self.image_norm = nn.LayerNorm(image_width)
        self.text_norm = nn.LayerNorm(text_width)
        self.image_query = nn.Linear(image_width, width)
        self.text_key = nn.Linear(text_width, width)
        self.image_value = nn.Linear(image_width, width)
        self.text_value = nn.Linear(text_width, width)
        self.image_out = nn.Linear(width, image_width)
        self.text_out = nn.Linear(width, text_width)
        self.image_scale = nn.Parameter(torch.full((image_width,), 1 / config.layers))
        self.text_scale = nn.Parameter(torch.full((text_width,), 1 / config.layers))
        for module in self.children():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor, text: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """image [B, N, D], text [B, L, T], token_mask bool [B, L] to the updated pair."""
        image, text = self.image_norm(image), self.text_norm(text)
        if not self.folds(image.shape[1], text.shape[1]):
            return self._projected(image, text, token_mask)
        folded = self._folded(text, token_mask)
        bias = self.image_scale * self.image_out.bias
        if torch.is_grad_enabled() or (self.training and self.dropout.p):
            told, read, mass = self._attended(image, folded)
            image = told + bias
        else:
            read, mass = attended_in_blocks(image, folded, self.heads), None
            image += bias
        return image, text + self.text_scale * self.text_out(self._values(read, mass))

    def folds(self, positions: int, tokens: int) -> bool:
        """See `folding_is_cheaper`."""
        return folding_is_cheaper(
            positions, tokens, self.heads, self.image_query.out_features, self.image_query.in_features
        )

    def of_image(self, image: Tensor, tokens: int) -> tuple[Tensor, ImageRows]:
        """The image's side alone: image [B, N, D] that reads no text, and what texts read of it.

        tokens: how many will read each image in all; they decide what is cheaper.
        """
        image = self.image_norm(image)
        if self.folds(image.shape[1], tokens):
            return image, ImageRows(image, None)
        return image, ImageRows(image, (self._split(self.image_query(image)), self._split(self.image_value(image))))

    def of_text(self, text: Tensor, rows: ImageRows) -> Tensor:
        """The text's side alone: text [K·B, L, T] with what it reads, the K texts of an image one after the other."""
        text = self.text_norm(text)
        side_by_side = text.reshape(rows.image.shape[0], -1, text.shape[-1])
        keys = self._split(self.text_key(side_by_side))
        if rows.projected is None:
            folded, bias = self._folded_keys(keys)
            scores = torch.baddbmm(bias, folded, rows.image.transpose(1, 2))  # [B, heads · K·L, N]
            found = self._values(*self._read(scores, rows.image))
        else:
            queries, values = rows.projected
            scores = keys @ queries.transpose(-2, -1) * keys.shape[-1] ** -0.5  # [B, heads, K·L, N]
            found = self._merge(self.dropout(scores.softmax(dim=-1)) @ values)
        return text + self.text_scale * self.text_out(found).view_as(text)  # type: ignore[no-any-return]

    def _projected(self, image: Tensor, text: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Every position in the attention's width: as it is usually written."""
        query, key = self._split(self.image_query(image)), self._split(self.text_key(text))
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5  # [B, heads, N, L]
        to_image = self.dropout(over_tokens(scores, token_mask[:, None])) @ self._split(self.text_value(text))
        to_text = self.dropout(scores.transpose(-2, -1).softmax(dim=-1)) @ self._split(self.image_value(image))
        image = image + self.image_scale * self.image_out(self._merge(to_image))
        text = text + self.text_scale * self.text_out(self._merge(to_text))
        return image, text

    def _folded(self, text: Tensor, token_mask: Tensor) -> FoldedText:
        keys, bias = self._folded_keys(self._split(self.text_key(text)))
        absent = ~token_mask.repeat(1, self.heads)[:, None]
        # not -inf: over the positions, padding must stay a number. Any shift leaves that softmax as it is
        bias = bias.transpose(1, 2).masked_fill(absent, torch.finfo(keys.dtype).min / 2)
        out = (self.image_scale[:, None] * self.image_out.weight).T.unflatten(0, (self.heads, -1))
        values = self._split(self.text_value(text)) @ out  # [B, heads, L, D]
        return FoldedText(keys, bias, values.flatten(1, 2))

    def _folded_keys(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Keys [B, heads, L, A / heads] in the image's width, [B, heads · L, D], and their bias [B, heads · L, 1]."""
        keys = keys * keys.shape[-1] ** -0.5
        weight, bias = (
            part.unflatten(0, (self.heads, -1)) for part in (self.image_query.weight, self.image_query.bias)
        )
        return (keys @ weight).flatten(1, 2), (keys @ bias[..., None]).flatten(1, 2)

    def _attended(self, image: Tensor, text: FoldedText) -> tuple[Tensor, Tensor, Tensor | None]:
        """image plus what it is told [B, N, D], and see `_read`; every score at once, for gradients and dropout."""
        scores = torch.baddbmm(text.key_bias.transpose(1, 2), text.keys, image.transpose(1, 2))  # [B, K, N]
        to_image = self.dropout(scores.unflatten(1, (self.heads, -1)).softmax(dim=2)).flatten(1, 2)
        return torch.baddbmm(image, to_image.transpose(1, 2), text.values), *self._read(scores, image)

    def _read(self, scores: Tensor, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of scores [B, K, N] what each row reads of the image, [B, K, D], and its weight in all [B, K, 1].

        None stands for 1, which it is unless dropout takes part.
        """
        weights = self.dropout(scores.softmax(dim=-1))
        mass = weights.sum(dim=-1, keepdim=True) if self.training and self.dropout.p else None
        return weights @ image, mass

    def _values(self, read: Tensor, mass: Tensor | None) -> Tensor:
        """Weighted positions [B, heads · L, D] to weighted values of positions, [B, L, A]."""
        weight, bias = (
            part.unflatten(0, (self.heads, -1)) for part in (self.image_value.weight, self.image_value.bias)
        )
        values = read.unflatten(1, (self.heads, -1)) @ weight.transpose(1, 2)
        bias = bias[:, None] if mass is None else bias[:, None] * mass.unflatten(1, (self.heads, -1))
        return self._merge(values + bias)

    def _by_head(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight [heads, A / heads, D] and bias [heads, A / heads]."""
        return layer.weight.unflatten(0, (self.heads, -1)), layer.bias.unflatten(0, (self.heads, -1))

    def _split(self, rows: Tensor) -> Tensor:
        batch, length, _ = rows.shape
        return rows.view(batch, length, self.heads, -1).transpose(1, 2)

    def _merge(self, rows: Tensor) -> Tensor:
        return rows.transpose(1, 2).flatten(2)


def attended_in_blocks(image: Tensor, text: FoldedText, heads: int) -> Tensor:
    """What each text row reads of an image [B, N, D], which is [B, K, D]; adds to the image what it is told, in place.

    Without a gradient. Positions come in blocks, so that no N × K matrix is ever held. The softmax over them is taken
    as they come: shifted by the largest score so far, and what was added up before is corrected when a larger one
    comes.
    """
    keys = text.keys.transpose(1, 2)
    batch, rows, width = text.keys.shape
    wide = torch.promote_types(image.dtype, torch.float32)
    largest = image.new_full((batch, 1, rows), float("-inf"), dtype=wide)
    mass, read = image.new_zeros(batch, 1, rows, dtype=wide), image.new_zeros(batch, rows, width, dtype=wide)
    length = max(BLOCK_OF_SCORES["cpu" if image.device.type == "cpu" else "other"] // (batch * rows), 1)
    for start in range(0, image.shape[1], length):
        block = image[:, start : start + length]
        scores = torch.baddbmm(text.key_bias, block, keys)  # [B, block, K]
        to_image = scores.unflatten(2, (heads, -1)).softmax(dim=-1).flatten(2)
        before, largest = largest, torch.maximum(largest, scores.amax(dim=1, keepdim=True))
        correction = (before - largest).exp()
        weights = (scores - largest).exp()
        mass = mass * correction + weights.sum(dim=1, keepdim=True)
        read = read * correction.transpose(1, 2) + weights.to(block.dtype).transpose(1, 2) @ block
        image[:, start : start + length] = torch.baddbmm(block, to_image.to(block.dtype), text.values)
    return (read / mass.transpose(1, 2)).to(image.dtype)


def over_tokens(scores: Tensor, readable: Tensor) -> Tensor:
    """Softmax of scores [B, heads, N, L] over the tokens that may be read, bool [B, 1 or N, L]."""
    return scores.masked_fill(~readable[:, None], float("-inf")).softmax(dim=-1)
