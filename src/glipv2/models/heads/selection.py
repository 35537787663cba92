"""From raw region outputs to scored boxes: the released post-processing, for any number of names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glipv2.ranges import at_least, share
from glipv2.structures import BoxConvention, RegionOutputs


@dataclass
class SelectionConfig:
    """Which regions become predictions.

    min_probability: on the alignment alone, before centerness; candidates: kept a level before
    suppression; iou_threshold: of the suppression within a name; max_detections: kept an image.
    """

    min_probability: float = share(0.05)
    candidates: int = at_least(1, 1000)
    iou_threshold: float = share(0.6)
    max_detections: int = at_least(1, 100)


@dataclass(frozen=True)
class ScoredBoxes:
    """Boxes [K, 4] in the model-input frame, scores [K] and vocabulary labels int64 [K] of one image."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def phrase_probabilities(alignment_logits: Tensor, phrase_map: Tensor) -> Tensor:
    """Mean token probability of each phrase, [R, P], from logits [R, L] and phrase_map bool [P, L].

    A phrase without tokens (padding) gets 0.
    """
    probabilities = precise(alignment_logits).sigmoid()
    weights = phrase_map.to(probabilities.dtype)
    return probabilities @ (weights / weights.sum(dim=-1, keepdim=True).clamp(min=1)).T


def precise(values: Tensor) -> Tensor:
    """In float32 at least: half precision ties scores and moves boxes by pixels."""
    return values if values.dtype == torch.float64 else values.float()


def candidate_boxes(
    outputs: RegionOutputs,
    row: int,
    phrase_map: Tensor,
    phrase_labels: Tensor,
    image_size: tuple[int, int],
    convention: BoxConvention,
    config: SelectionConfig,
) -> ScoredBoxes:
    """Candidates of image `row` before suppression, score = sqrt(probability · centerness), clipped."""
    probabilities = phrase_probabilities(outputs.alignment_logits[row], phrase_map)
    joint = probabilities * precise(outputs.centerness[row]).sigmoid()[:, None]
    joint = joint.masked_fill(probabilities <= config.min_probability, -1.0)
    regions, phrases, scores = [], [], []
    start = 0
    for size in outputs.level_sizes:
        level = joint[start : start + size].flatten()
        best, index = level.topk(min(config.candidates, level.numel()))
        index = index[best > -0.5]
        regions.append(index // joint.shape[1] + start)
        phrases.append(index % joint.shape[1])
        scores.append(best[best > -0.5])
        start += size
    chosen = torch.cat(regions)
    boxes = convention.decode(precise(outputs.box_deltas[row][chosen]), outputs.anchors[chosen])
    return ScoredBoxes(
        convention.clip(boxes, image_size), torch.cat(scores).clamp(min=0).sqrt(), phrase_labels[torch.cat(phrases)]
    )


def select(candidates: ScoredBoxes, convention: BoxConvention, config: SelectionConfig) -> ScoredBoxes:
    """Suppression within each label, then the best `max_detections`, best first."""
    keep = convention.suppress(candidates.boxes, candidates.scores, candidates.labels, config.iou_threshold)
    keep = keep[: config.max_detections]
    return ScoredBoxes(candidates.boxes[keep], candidates.scores[keep], candidates.labels[keep])


def joined(parts: Sequence[ScoredBoxes]) -> ScoredBoxes:
    """The candidates of several prompts on one image as one list."""
    return ScoredBoxes(
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.labels for part in parts]),
    )


@dataclass
class RankingConfig:
    """How the boxes of one phrase are ranked.

    boxes: kept a phrase; candidates: of a phrase before suppression; iou_threshold: of the suppression;
    min_score: below it a box is no answer at all. A phrase that is not in the picture may then have none.
    """

    boxes: int = at_least(1, 10)
    candidates: int = at_least(1, 200)
    iou_threshold: float = share(0.6)
    min_score: float = share(0.0)


def ranked_boxes(
    outputs: RegionOutputs,
    row: int,
    phrase_map: Tensor,
    image_size: tuple[int, int],
    convention: BoxConvention,
    config: RankingConfig,
) -> ScoredBoxes:
    """The best boxes of each phrase (bool [P, L]) in row `row`, best first; labels are the phrases' places.

    Score as in `candidate_boxes`. Phrases do not compete: each keeps its own, however low they score.
    """
    joint = phrase_probabilities(outputs.alignment_logits[row], phrase_map)
    joint = joint * outputs.centerness[row].float().sigmoid()[:, None]
    best, regions = joint.topk(min(config.candidates, joint.shape[0]), dim=0)
    labels = torch.arange(joint.shape[1], device=joint.device).expand_as(best)
    wanted = best.sqrt() > config.min_score
    regions, labels, scores = regions[wanted], labels[wanted], best[wanted].sqrt()
    boxes = convention.decode(outputs.box_deltas[row][regions].float(), outputs.anchors[regions])
    boxes = convention.clip(boxes, image_size)
    keep = convention.suppress(boxes, scores, labels, config.iou_threshold)
    own = labels[keep, None] == torch.arange(joint.shape[1], device=joint.device)
    place = (own.cumsum(dim=0) * own).sum(dim=1)  # of each box among those of its phrase, from 1
    keep = keep[place <= config.boxes]
    return ScoredBoxes(boxes[keep], scores[keep], labels[keep])
