"""From raw region outputs to scored boxes: the released post-processing, for any number of names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glipv2.structures import BoxConvention, RegionOutputs


@dataclass
class SelectionConfig:
    """Which regions become predictions.

    min_probability: on the alignment alone, before centerness; candidates: kept a level before
    suppression; iou_threshold: of the suppression within a name; max_detections: kept an image.
    """

    min_probability: float = 0.05
    candidates: int = 1000
    iou_threshold: float = 0.6
    max_detections: int = 100


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


def joined(parts: list[ScoredBoxes]) -> ScoredBoxes:
    """The candidates of several prompts on one image as one list."""
    return ScoredBoxes(
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.labels for part in parts]),
    )
