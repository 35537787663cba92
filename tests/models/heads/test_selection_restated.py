"""Claims that post-processing is the released one, against a slow and plain telling of it in Python.

The restatement works on lists, one region and one name at a time, and shares nothing with the code it
checks: probabilities are means over a name's tokens; above the threshold, the best of each level by
probability times centerness; decoded, clipped, suppressed within a name; the best hundred kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glipv2.models.heads.selection import ScoredBoxes, SelectionConfig, candidate_boxes, select
from glipv2.structures import BoxConvention, RegionOutputs

TOKEN_SETS = [chosen for size in (1, 2, 3) for chosen in combinations(range(6), size)]  # no two names alike

Box = list[float]
Found = tuple[float, int, Box]  # score, label, corners


@dataclass(frozen=True)
class Scene:
    """Raw outputs of a batch, and the names asked for: the tokens of each label."""

    outputs: RegionOutputs
    names: dict[int, list[int]]
    size: tuple[int, int]
    inclusive: bool

    def ours(self, row: int, config: SelectionConfig) -> ScoredBoxes:
        """By the code under test; one padding phrase more than there are names."""
        length = self.outputs.alignment_logits.shape[2]
        phrases = torch.zeros(len(self.names) + 1, length, dtype=torch.bool)
        for index, tokens in enumerate(self.names.values()):
            phrases[index, tokens] = True
        labels = torch.tensor([*self.names, -1])
        convention = BoxConvention(self.inclusive)
        return select(
            candidate_boxes(self.outputs, row, phrases, labels, self.size, convention, config), convention, config
        )

    def candidates(self, row: int, config: SelectionConfig) -> list[Found]:
        """Before suppression."""
        raw = self.outputs
        logits, deltas = raw.alignment_logits[row].tolist(), raw.box_deltas[row].tolist()
        quality, anchors = [sigmoid(value) for value in raw.centerness[row].tolist()], raw.anchors.tolist()
        found: list[Found] = []
        start = 0
        for count in raw.level_sizes:
            level = []
            for region in range(start, start + count):
                for label, tokens in self.names.items():
                    probability = mean([sigmoid(logits[region][token]) for token in tokens])
                    if probability > config.min_probability:  # not a number is not above
                        level.append((probability * quality[region], label, region))
            level.sort(key=lambda entry: -entry[0])
            for joint, label, region in level[: config.candidates]:
                corners = clipped(decoded(deltas[region], anchors[region], self.inclusive), self.size, self.inclusive)
                found.append((math.sqrt(joint), label, corners))
            start += count
        return found

    def released(self, row: int, config: SelectionConfig) -> list[Found]:
        """After suppression, best first; boxes that tie with the last one all stay."""
        kept: list[Found] = []
        for score, label, box in sorted(self.candidates(row, config), key=lambda entry: -entry[0]):
            rivals = [other for _, name, other in kept if name == label]
            if all(overlap(box, other, self.inclusive) <= config.iou_threshold for other in rivals):
                kept.append((score, label, box))
        if len(kept) > config.max_detections:
            last = kept[config.max_detections - 1][0]
            kept = [entry for entry in kept if entry[0] >= last]
        return kept


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def decoded(deltas: Box, anchor: Box, inclusive: bool) -> Box:
    one = 1 if inclusive else 0
    width, height = anchor[2] - anchor[0] + one, anchor[3] - anchor[1] + one
    x = (anchor[0] + anchor[2]) / 2 + deltas[0] / 10 * width
    y = (anchor[1] + anchor[3]) / 2 + deltas[1] / 10 * height
    most = math.log(1000 / 16)
    width *= math.exp(min(deltas[2] / 5, most))
    height *= math.exp(min(deltas[3] / 5, most))
    half_width, half_height = (width - one) / 2, (height - one) / 2
    return [x - half_width, y - half_height, x + half_width, y + half_height]


def clipped(box: Box, size: tuple[int, int], inclusive: bool) -> Box:
    one = 1 if inclusive else 0
    limits = [size[1] - one, size[0] - one] * 2
    return [min(max(value, 0), limit) for value, limit in zip(box, limits, strict=True)]


def overlap(first: Box, second: Box, inclusive: bool) -> float:
    one = 1 if inclusive else 0
    width = min(first[2], second[2]) - max(first[0], second[0]) + one
    height = min(first[3], second[3]) - max(first[1], second[1]) + one
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + one) * (box[3] - box[1] + one) for box in (first, second)]
    union = sum(areas) - common
    return common / union if union > 0 else 0.0


def scene(seed: int, inclusive: bool, values: Any = None, names: int = 3, spread: float = 2.0) -> Scene:
    """Two images, two levels of 12 and 4 regions on 64 x 80 pixels, names of no to three tokens.

    values: what logits, centerness and deltas are drawn from (default: anything, so that nothing ties).
    """
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        if values is None:
            return torch.randn(shape, generator=rng, dtype=torch.float64)
        return torch.tensor(values).double()[torch.randint(len(values), shape, generator=rng)]

    anchors = []
    for rows, columns, stride in ((3, 4, 20), (2, 2, 40)):
        for index in range(rows * columns):
            x, y = index % columns * stride, index // columns * stride
            anchors.append([x - 6.0, y - 8.0, x + 6.0 + stride, y + 8.0 + stride])
    tokens = [TOKEN_SETS[index] for index in torch.randperm(len(TOKEN_SETS), generator=rng)[:names].tolist()]
    tokens[-1] = ()  # a name without a token in the text
    logits = 30 * (draw(2, 16, 6) * spread / 30).tanh()  # beyond 36 all sigmoids are 1, and would tie
    outputs = RegionOutputs(logits, draw(2, 16, 4) * spread, draw(2, 16), torch.tensor(anchors).double(), (12, 4))
    return Scene(outputs, {label + 4: list(found) for label, found in enumerate(tokens)}, (64, 80), inclusive)


def rows_of(found: ScoredBoxes) -> list[Found]:
    return list(zip(found.scores.tolist(), found.labels.tolist(), found.boxes.tolist(), strict=True))


def same(ours: list[Found], theirs: list[Found]) -> None:
    assert [label for _, label, _ in ours] == [label for _, label, _ in theirs]
    for (score, _, box), (other_score, _, other_box) in zip(ours, theirs, strict=True):
        assert score == pytest.approx(other_score, abs=1e-9)
        assert box == pytest.approx(other_box, abs=1e-7)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10_000),
    st.booleans(),
    st.integers(1, 12),  # more names than regions of a level, too
    st.sampled_from([0.3, 2.0, 20.0]),  # from boxes near their anchors to boxes past the bound on growth
    st.builds(
        SelectionConfig,
        min_probability=st.sampled_from([0.0, 0.05, 0.4]),
        candidates=st.integers(1, 60),
        iou_threshold=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
        max_detections=st.integers(1, 60),
    ),
)
def test_boxes_names_scores_and_their_order_are_the_restated_ones(
    seed: int, inclusive: bool, names: int, spread: float, config: SelectionConfig
) -> None:
    drawn = scene(seed, inclusive, names=names, spread=spread)
    for row in range(2):
        same(rows_of(drawn.ours(row, config)), drawn.released(row, config))


def test_the_restatement_sees_what_the_random_scenes_are_to_show() -> None:
    """Of the first scenes: suppression, clipping, a full list, a full level, the two conventions, two images."""
    config = SelectionConfig(candidates=20, max_detections=12)
    seen = {"suppressed": 0, "full": 0, "level": 0, "clipped": 0, "conventions": 0, "images": 0}
    for seed in range(20):
        drawn, other = scene(seed, True), scene(seed, False)
        before, after = drawn.candidates(0, config), drawn.released(0, config)
        seen["suppressed"] += len(drawn.released(0, SelectionConfig())) < len(drawn.candidates(0, SelectionConfig()))
        seen["full"] += len(after) == 12
        seen["level"] += len(before) < len(drawn.candidates(0, SelectionConfig()))
        seen["clipped"] += any(79.0 in box or 63.0 in box for _, _, box in after)
        seen["conventions"] += after != other.released(0, config)
        seen["images"] += after != drawn.released(1, config)
    assert min(seen.values()) > 5, seen


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([0.1, 0.6]))
def test_among_ties_a_box_stays_unless_one_at_least_as_good_overlaps_it(
    seed: int, inclusive: bool, threshold: float
) -> None:
    """Which of two equal boxes stays is free; beyond that, only one set can be right."""
    drawn = scene(seed, inclusive, values=[-1.0, 0.0, 1.0])
    config = SelectionConfig(iou_threshold=threshold)
    for row in range(2):
        kept, candidates = rows_of(drawn.ours(row, config)), drawn.candidates(row, config)
        assert [score for score, _, _ in kept] == sorted((score for score, _, _ in kept), reverse=True)
        for index, (_, label, box) in enumerate(kept):
            rivals = [other for _, name, other in kept[:index] if name == label]
            assert all(overlap(box, other, inclusive) <= threshold + 1e-9 for other in rivals)
        for score, label, box in candidates:
            judges = [other for best, name, other in kept if name == label and best >= score - 1e-9]
            assert any(
                other == pytest.approx(box, abs=1e-7) or overlap(box, other, inclusive) > threshold - 1e-9
                for other in judges
            )
        assert all(any(same_entry(entry, candidate) for candidate in candidates) for entry in kept)


def same_entry(first: Found, second: Found) -> bool:
    return first[1] == second[1] and [first[0], *first[2]] == pytest.approx([second[0], *second[2]], abs=1e-7)


@pytest.mark.parametrize("seed", range(10))
def test_the_list_is_never_longer_than_asked_though_the_released_code_keeps_all_that_tie_with_the_last(
    seed: int,
) -> None:
    drawn = scene(seed, True, values=[-1.0, 1.0])
    config = SelectionConfig(iou_threshold=1.0, max_detections=5)  # nothing is suppressed
    ours, released = rows_of(drawn.ours(0, config)), drawn.released(0, config)
    assert len(ours) == 5 <= len(released)
    assert [score for score, _, _ in ours] == pytest.approx([score for score, _, _ in released[:5]])
    assert all(any(same_entry(entry, other) for other in released) for entry in ours)


def scored(boxes: list[Box], scores: list[float], labels: list[int]) -> ScoredBoxes:
    return ScoredBoxes(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


@pytest.mark.parametrize(("inclusive", "tall", "low"), [(False, 10.0, 6.0), (True, 9.0, 5.0)])
def test_an_overlap_of_exactly_the_threshold_suppresses_nothing(inclusive: bool, tall: float, low: float) -> None:
    boxes = [[0.0, 0.0, tall, tall], [0.0, 0.0, tall, low]]  # 60 of 100 pixels
    assert overlap(*boxes, inclusive) == 0.6
    kept = select(scored(boxes, [0.9, 0.8], [1, 1]), BoxConvention(inclusive), SelectionConfig(iou_threshold=0.6))
    assert len(kept.scores) == 2
    kept = select(scored(boxes, [0.9, 0.8], [1, 1]), BoxConvention(inclusive), SelectionConfig(iou_threshold=0.599))
    assert len(kept.scores) == 1


def test_a_probability_of_exactly_the_threshold_is_not_enough() -> None:
    drawn = scene(0, True, values=[0.0])  # every probability is one half
    assert drawn.released(0, SelectionConfig(min_probability=0.5)) == []
    assert len(drawn.ours(0, SelectionConfig(min_probability=0.5)).scores) == 0
    assert len(drawn.ours(0, SelectionConfig(min_probability=0.499)).scores) > 0
