"""Claims about post-processing: which regions become predictions, and that it is the released code's choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.models.heads.regions import RegionHeadConfig
from glipv2.models.heads.selection import (
    ScoredBoxes,
    SelectionConfig,
    candidate_boxes,
    joined,
    phrase_probabilities,
    select,
)
from glipv2.structures import BoxConvention, RegionOutputs

PLAIN = BoxConvention()
ANCHORS = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30], [90, 90, 110, 110]])


def outputs(probabilities: Tensor, centerness: Tensor) -> RegionOutputs:
    """Two levels of three and one region, at their anchors; probabilities [4, L]."""
    deltas = torch.zeros(1, 4, 4)
    return RegionOutputs(probabilities.logit()[None], deltas, centerness.logit()[None], ANCHORS, (3, 1))


def found(probabilities: Tensor, centerness: Tensor, **options: float) -> ScoredBoxes:
    """Candidates of names of one token each."""
    names = probabilities.shape[1]
    config = SelectionConfig(**options)  # type: ignore[arg-type]
    raw = outputs(probabilities, centerness)
    return candidate_boxes(raw, 0, torch.eye(names).bool(), torch.arange(names) + 5, (100, 100), PLAIN, config)


def test_a_names_probability_is_the_mean_over_its_tokens() -> None:
    logits = torch.tensor([[0.2, 0.6, 0.5]]).logit()
    phrases = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    assert_close(phrase_probabilities(logits, phrases), torch.tensor([[0.4, 0.5, 0.0]]))


def test_scores_are_the_root_of_probability_times_centerness() -> None:
    probabilities, centerness = torch.full((4, 1), 0.36), torch.tensor([1 - 1e-7, 0.25, 0.25, 0.25])
    candidates = found(probabilities, centerness)
    assert_close(candidates.scores, torch.tensor([0.6, 0.3, 0.3, 0.3]))
    assert candidates.labels.tolist() == [5, 5, 5, 5]


def test_the_threshold_is_on_the_probability_alone() -> None:
    probabilities = torch.tensor([[0.06], [0.04], [0.9], [0.05]])
    centerness = torch.tensor([1e-4, 0.99, 0.99, 0.99])
    candidates = found(probabilities, centerness, min_probability=0.05)
    assert sorted(round(float(score), 4) for score in candidates.scores) == [
        round((0.06 * 1e-4) ** 0.5, 4),
        round((0.9 * 0.99) ** 0.5, 4),
    ]


def test_one_region_may_have_several_names() -> None:
    probabilities = torch.full((4, 2), 0.01)
    probabilities[1] = torch.tensor([0.5, 0.7])
    candidates = found(probabilities, torch.full((4,), 0.9))
    assert sorted(candidates.labels.tolist()) == [5, 6]
    assert candidates.boxes.tolist() == [ANCHORS[1].tolist()] * 2


def test_candidates_are_kept_a_level() -> None:
    probabilities = torch.tensor([[0.9], [0.8], [0.7], [0.1]])
    candidates = found(probabilities, torch.full((4,), 0.9), candidates=2)
    assert_close(candidates.scores, (torch.tensor([0.9, 0.8, 0.1]) * 0.9).sqrt())


def test_boxes_are_clipped_to_the_image_without_its_padding() -> None:
    candidates = found(torch.full((4, 1), 0.5), torch.full((4,), 0.5))
    assert candidates.boxes[3].tolist() == [90, 90, 100, 100]


def test_nothing_above_the_threshold_gives_nothing() -> None:
    candidates = found(torch.full((4, 2), 0.01), torch.full((4,), 0.5))
    chosen = select(joined([candidates, candidates]), PLAIN, SelectionConfig())
    assert chosen.boxes.shape == (0, 4)
    assert chosen.scores.shape == chosen.labels.shape == (0,)


def test_padding_phrases_never_become_predictions() -> None:
    raw = outputs(torch.full((4, 1), 0.9), torch.full((4,), 0.9))
    phrases, labels = torch.tensor([[True], [False]]), torch.tensor([5, -1])
    candidates = candidate_boxes(raw, 0, phrases, labels, (100, 100), PLAIN, SelectionConfig(min_probability=0.0))
    assert candidates.labels.tolist() == [5] * 4


def test_the_best_of_several_prompts_are_kept_best_first() -> None:
    first = found(torch.tensor([[0.9], [0.2], [0.3], [0.1]]), torch.full((4,), 0.9))
    second = ScoredBoxes(first.boxes, first.scores * 0.99, first.labels + 1)  # another prompt's name
    chosen = select(joined([second, first]), PLAIN, SelectionConfig(max_detections=3))
    assert chosen.labels.tolist() == [5, 6, 5]
    assert chosen.scores.tolist() == sorted(chosen.scores.tolist(), reverse=True)
    assert len(select(joined([first, first]), PLAIN, SelectionConfig()).scores) == 4  # doubles of one name fall


@pytest.mark.parametrize(("case", "images"), [("glip_t_small", 2), ("glip_a_small", 1)])
def test_predictions_are_the_released_codes(shared: Path, case: str, images: int) -> None:
    """From the raw outputs of microsoft/GLIP to its hundred boxes."""
    raw = np.load(shared / "parity" / f"{case}.npz")
    shapes = [raw[f"box_deltas.{level}"].shape[-2:] for level in range(5)]
    head = RegionHeadConfig(inclusive_boxes=True).build(16, 16, 5)

    def rows(name: str) -> Tensor:
        levels = [torch.from_numpy(raw[f"{name}.{level}"]) for level in range(5)]
        return torch.cat([part if part.ndim == 3 else part.flatten(2).transpose(1, 2) for part in levels], dim=1)

    anchors = head.anchors(tuple(torch.zeros(1, 16, *shape) for shape in shapes))
    sizes = tuple(int(height * width) for height, width in shapes)
    outputs = RegionOutputs(rows("alignment_logits"), rows("box_deltas"), rows("centerness")[..., 0], anchors, sizes)
    phrases = torch.zeros(3, 9, dtype=torch.bool)
    phrases[0, 1] = phrases[1, 3] = phrases[2, 5] = phrases[2, 6] = True
    for image in range(images):
        height, width = raw["image_sizes"][image].tolist()
        convention = BoxConvention(inclusive=True)
        candidates = candidate_boxes(
            outputs, image, phrases, torch.arange(3), (height, width), convention, SelectionConfig()
        )
        chosen = select(candidates, convention, SelectionConfig())
        assert_close(chosen.scores, torch.from_numpy(raw[f"scores.{image}"]), atol=1e-5, rtol=1e-5)
        ours = sorted(zip((chosen.labels + 1).tolist(), chosen.boxes.round(decimals=1).tolist(), strict=True))
        theirs = sorted(
            zip(
                raw[f"labels.{image}"].tolist(),
                torch.from_numpy(raw[f"boxes.{image}"]).round(decimals=1).tolist(),
                strict=True,
            )
        )
        assert [label for label, _ in ours] == [label for label, _ in theirs]
        assert_close(
            torch.tensor([box for _, box in ours]), torch.tensor([box for _, box in theirs]), atol=0.11, rtol=0
        )
