"""Cross-attention as it is written in the paper: every position and token projected, text padded to 256 tokens.

The yardstick of the fusion row, on the weights of a `CrossAttention`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from glipv2.models.cross_attention import CrossAttention

PADDED = 256


def unfolded(layer: CrossAttention, image: Tensor, text: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
    """image [B, N, D], text [B, L, T], token_mask bool [B, L] to the updated pair, L as given."""
    length = text.shape[1]
    text, token_mask = F.pad(text, (0, 0, 0, PADDED - length)), F.pad(token_mask, (0, PADDED - length))
    image, text = layer.image_norm(image), layer.text_norm(text)
    query, key = _heads(layer.image_query(image), layer.heads), _heads(layer.text_key(text), layer.heads)
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    over_tokens = scores.masked_fill(~token_mask[:, None, None], float("-inf")).softmax(dim=-1)
    to_image = over_tokens @ _heads(layer.text_value(text), layer.heads)
    to_text = scores.transpose(-2, -1).softmax(dim=-1) @ _heads(layer.image_value(image), layer.heads)
    image = image + layer.image_scale * layer.image_out(to_image.transpose(1, 2).flatten(2))
    text = text + layer.text_scale * layer.text_out(to_text.transpose(1, 2).flatten(2))
    return image, text[:, :length]


def _heads(rows: Tensor, heads: int) -> Tensor:
    return rows.unflatten(-1, (heads, -1)).transpose(1, 2)


def largest_difference(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> float:
    """Of two results, number by number."""
    return max(float((own - other).abs().max()) for own, other in zip(first, second, strict=True))


def positions(size: tuple[int, int], levels: int = 5, stride: int = 8) -> int:
    """How many positions a pyramid has over an image of `size`, its sides multiples of 32."""
    return sum(-(-size[0] // (stride * 2**level)) * -(-size[1] // (stride * 2**level)) for level in range(levels))


def random_pair(layer: CrossAttention, count: int, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """One image of `count` positions, one text, and its mask."""
    device = layer.image_scale.device
    image = torch.randn(1, count, layer.image_scale.shape[0], device=device)
    text = torch.randn(1, tokens, layer.text_scale.shape[0], device=device)
    return image, text, torch.ones(1, tokens, dtype=torch.bool, device=device)
