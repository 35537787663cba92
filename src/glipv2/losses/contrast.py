"""Inter-image region–word contrast: every region of the batch against every word of the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
import torch.nn.functional as F
from torch import Tensor

from glipv2.ranges import at_least

NO_CLASS = 0


@dataclass
class ContrastConfig:
    """weight: of the loss (0 = off); max_regions: matched regions an image takes part with (released: 100).

    fused: takes features that image and text have read each other into, as the released code does by a slip where the
    paper takes those before. propagate: whether a class of the same name in another text is a positive; without, all
    words of other texts are negatives, as in CLIP. Both are there to be compared.
    """

    weight: float = at_least(0, 1.0)
    max_regions: int = at_least(1, 100)
    fused: bool = False
    propagate: bool = True


@dataclass(frozen=True)
class ContrastRegions:
    """K matched regions: features [K, E], the image (row of the batch) of each [K], the identity of the class
    it is annotated with [K] (NO_CLASS for a phrase of a caption), own tokens bool [K, L].
    """

    features: Tensor
    images: Tensor
    classes: Tensor
    own_tokens: Tensor


@dataclass(frozen=True)
class ContrastWords:
    """The words of B texts: features [B, L, E], token_mask bool [B, L], classes int64 [B, L] (NO_CLASS for
    separators, special tokens and words of captions). images int64 [B]: the image that each text is about,
    below B; None = each about its own.
    """

    features: Tensor
    token_mask: Tensor
    classes: Tensor
    images: Tensor | None = None


def contrast_loss(regions: ContrastRegions, words: ContrastWords, propagate: bool = True) -> Tensor:
    """Mean cross-entropy of regions over words plus words over regions, halved (GLIPv2's L_inter).

    Targets: a region's own tokens in its own text; in other texts the tokens of a class of the same
    name (label propagation), so that a person elsewhere is no negative. Words of captions speak of
    their own image only and are not propagated; another text about the same image is not compared
    at all, since it may name the same region. Without `propagate` a region's own tokens are its
    only positives. Several positives share the target evenly; a region or word without any is left
    out. Gathers over ranks with gradient: each rank returns the same number.
    """
    regions, words = _gathered(regions, words)
    logits = regions.features @ words.features.flatten(0, 1).T
    real = words.token_mask.flatten()
    compared = _compared(regions, words)
    targets = contrast_targets(regions, words, propagate) & real & compared
    logits = logits.masked_fill(~compared, float("-inf"))
    by_region = _soft_cross_entropy(logits.masked_fill(~real, float("-inf")), targets)
    by_word = _soft_cross_entropy(logits.T[real], targets.T[real])
    return (by_region + by_word) / 2


def contrast_targets(regions: ContrastRegions, words: ContrastWords, propagate: bool = True) -> Tensor:
    """Bool [K, B·L]: which words name which regions."""
    batch, length = words.token_mask.shape
    classes = words.classes.flatten()
    same = (regions.classes[:, None] == classes) & (regions.classes[:, None] != NO_CLASS) & propagate
    text = torch.arange(batch, device=classes.device).repeat_interleave(length)
    return torch.where(regions.images[:, None] == text, regions.own_tokens.repeat(1, batch), same)


def _compared(regions: ContrastRegions, words: ContrastWords) -> Tensor:
    """Bool [K, B·L], or [1, 1] where every text has an image of its own: False for further texts about the image."""
    if words.images is None:
        return torch.ones(1, 1, dtype=torch.bool, device=words.token_mask.device)
    own = torch.arange(len(words.images), device=words.images.device) == regions.images[:, None]
    same_image = words.images == words.images[regions.images][:, None]
    return (own | ~same_image).repeat_interleave(words.token_mask.shape[1], dim=1)


def _soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the rows that have a positive; 0 when none has."""
    rows = targets.any(dim=1)
    logits, targets = logits[rows].float(), targets[rows]
    log_probs = F.log_softmax(logits, dim=1).masked_fill(~targets, 0)
    return -(log_probs.sum(dim=1) / targets.sum(dim=1)).sum() / max(len(logits), 1)


def _gathered(regions: ContrastRegions, words: ContrastWords) -> tuple[ContrastRegions, ContrastWords]:
    """The regions and words of all ranks; image rows count on from rank to rank."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return regions, words
    sizes = torch.tensor([len(regions.features), *words.token_mask.shape], device=words.features.device)
    every = [torch.empty_like(sizes) for _ in range(dist.get_world_size())]
    dist.all_gather(every, sizes)
    most, batch, length = torch.stack(every).amax(dim=0).tolist()
    kept = torch.ones(len(regions.features), dtype=torch.bool, device=words.features.device)
    gathered_kept = _gather(_padded(kept, most))
    images = regions.images + dist.get_rank() * batch
    all_regions = ContrastRegions(
        _gather(_padded(regions.features, most))[gathered_kept],
        _gather(_padded(images, most))[gathered_kept],
        _gather(_padded(regions.classes, most))[gathered_kept],
        _gather(_padded(F.pad(regions.own_tokens, (0, length - regions.own_tokens.shape[1])), most))[gathered_kept],
    )
    grow = length - words.token_mask.shape[1]
    all_words = ContrastWords(
        _gather(_padded(F.pad(words.features, (0, 0, 0, grow)), batch)),
        _gather(_padded(F.pad(words.token_mask, (0, grow)), batch)),
        _gather(_padded(F.pad(words.classes, (0, grow)), batch)),
        None if words.images is None else _gather(_padded(words.images + dist.get_rank() * batch, batch)),
    )
    return all_regions, all_words


def _padded(values: Tensor, length: int) -> Tensor:
    missing = values.new_zeros(length - values.shape[0], *values.shape[1:])
    return torch.cat([values, missing])


def _gather(values: Tensor) -> Tensor:
    """Rows of all ranks in order of rank; with gradient where the values have one."""
    if values.is_floating_point():
        return torch.cat(list(dist_nn.all_gather(values.contiguous())))
    sent = values.contiguous().to(torch.int64)  # not every backend knows bool
    parts = [torch.empty_like(sent) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, sent)
    return torch.cat(parts).to(values.dtype)
