"""A first look at a large vocabulary: which of its names a picture may hold, before image and text read each other.

Inexact by design: a name that is screened out is not found, whatever the whole model would have said of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glipv2.models.core import Core
from glipv2.models.fusion import FusionLayer, flatten_levels
from glipv2.models.parts import Parts
from glipv2.structures import ImageBatch, PromptBatch
from glipv2.structures.features import Features


def likely_names(
    parts: Parts, images: ImageBatch, prompts: Sequence[PromptBatch], keep: int, divisor: int
) -> list[list[int]]:
    """For each image the labels of the `keep` names that any of its regions is most like, in order of the vocabulary.

    prompts: of one row each, together all names. Likeness is that of the head for contrast between images where the
    weights have one, which was trained on features from before fusion; else it is the region head's, of an image that
    went through the tower alone. No image's names depend on its neighbours.
    """
    found: dict[int, list[int]] = {}
    for rows, group in images.by_padded_size(divisor):
        levels = parts.core.image(group.pixels)
        if not parts.holds("contrast"):
            levels = _alone(parts.core, levels)
        scores = torch.cat([_likeness(parts, levels, prompt) for prompt in prompts], dim=1)
        labels = torch.cat([prompt.phrase_labels[0] for prompt in prompts])
        chosen = labels[scores.topk(min(keep, scores.shape[1]), dim=1).indices]
        found |= zip(rows, chosen.sort(dim=1).values.tolist(), strict=True)
    return [found[row] for row in range(len(images))]


def _likeness(parts: Parts, levels: tuple[Tensor, ...], prompt: PromptBatch) -> Tensor:
    """[B, P]: of each phrase with the region that is most like it; a phrase is the mean of its tokens."""
    tokens, mask = parts.core.read(prompt.text), prompt.text.token_mask
    if parts.holds("contrast"):
        regions, words = parts.contrast(flatten_levels(levels), tokens)
        logits = regions @ words[0].T
    else:
        count = len(levels[0])
        features = Features(levels, tokens.expand(count, -1, -1), mask.expand(count, -1))
        logits = parts.regions(features).alignment_logits
    phrases = prompt.phrase_map[0].to(logits.dtype)
    return (logits @ (phrases / phrases.sum(dim=1, keepdim=True)).T).amax(dim=1)  # type: ignore[no-any-return]


def _alone(core: Core, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tower's own convolutions, without a text to read."""
    for layer in core.fusion.layers:
        assert isinstance(layer, FusionLayer)
        levels = layer.image(levels)
    return levels
