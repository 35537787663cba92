"""Claims about the answer head: what it reads, that padding is not read, and that it knows where things are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.errors import UserError
from glipv2.models.fusion import flatten_levels
from glipv2.models.heads.answers import AnswerHead, AnswerHeadConfig
from glipv2.models.heads.evidence import position_code
from glipv2.structures import BoxConvention, Features, RegionOutputs, TextBatch

CONFIG = AnswerHeadConfig(width=16, heads=4, dropout=0.0)


def features(seed: int = 0, texts: int = 2, sides: tuple[int, ...] = (8, 4)) -> Features:
    rng = torch.Generator().manual_seed(seed)
    levels = tuple(torch.randn(texts, 12, side, side, generator=rng) for side in sides)
    mask = torch.ones(texts, 6, dtype=torch.bool)
    mask[1, 4:] = False
    return Features(levels, torch.randn(texts, 6, 10, generator=rng), mask)


def head(config: AnswerHeadConfig = CONFIG) -> AnswerHead:
    torch.manual_seed(0)
    return config.build(
        image_width=12, text_width=10, levels=2, first_stride=8, answers=5, boxes=BoxConvention()
    ).eval()


def answered(own: Features, model: AnswerHead | None = None) -> Tensor:
    """Logits [B, A] of one question a row."""
    text = TextBatch(torch.zeros_like(own.token_mask, dtype=torch.int64), own.token_mask)
    return (model or head())(own, text, regions_of(own))[:, 0]


def regions_of(own: Features) -> RegionOutputs:
    """Regions that are aligned with tokens as some matrix says."""
    rows = flatten_levels(own.levels)
    matrix = torch.randn(12, 10, generator=torch.Generator().manual_seed(7))
    nothing = rows.new_zeros(*rows.shape[:2], 4)
    return RegionOutputs(rows @ matrix @ own.tokens.transpose(1, 2), nothing, rows[..., 0], nothing[0], (64, 16))


def test_one_row_of_logits_a_text() -> None:
    logits = answered(features())
    assert logits.shape == (2, 5)
    assert logits.dtype == torch.float32
    assert answered(features(texts=2)).isfinite().all()


def test_a_text_does_not_depend_on_its_neighbours_nor_on_its_padding() -> None:
    own = features()
    single = Features(tuple(level[1:] for level in own.levels), own.tokens[1:, :4], own.token_mask[1:, :4])
    assert_close(answered(own)[1:], answered(single))
    changed = own.tokens.clone()
    changed[1, 4:] = 100
    assert_close(answered(replace(own, tokens=changed)), answered(own))


@pytest.mark.parametrize("part", ["first token", "last token", "finest level", "coarsest level"])
def test_everything_that_is_given_is_read(part: str) -> None:
    own = features()
    tokens, levels = own.tokens.clone(), [level.clone() for level in own.levels]
    place: Tensor = {"first token": tokens[:, 0], "last token": tokens[0, -1:], "finest level": levels[0][:, :, 3, 3],
                     "coarsest level": levels[1][:, :, 1, 2]}[part]  # fmt: skip
    place += 3
    changed = answered(Features(tuple(levels), tokens, own.token_mask))
    assert not torch.isclose(changed[0], answered(own)[0], atol=1e-6).all()


def test_a_mirrored_image_looks_different() -> None:
    own = features()
    mirrored = replace(own, levels=tuple(level.flip(-1) for level in own.levels))
    assert not torch.allclose(answered(own), answered(mirrored), atol=1e-5)


def test_a_position_code_without_waves_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.answers\.waves: expected at least 1, but got 0"):
        head(replace(CONFIG, waves=0))


def test_positions_are_absolute_pixels() -> None:
    """Padding moves none, and a coarse position lies between the fine ones that it covers."""
    small = position_code((torch.zeros(1, 1, 4, 4),), 8, 6).reshape(4, 4, -1)
    large = position_code((torch.zeros(1, 1, 6, 9),), 8, 6).reshape(6, 9, -1)
    assert_close(small, large[:4, :4])
    fine, coarse = position_code((torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1)), 8, 6).split([4, 1])
    slowest = fine[:, [5, 17]].mean(dim=0)  # sines of the longest wave of y and x, nearly linear here
    assert_close(coarse[0, [5, 17]], slowest, atol=1e-4, rtol=1e-3)


def test_how_much_there_is_of_something_can_be_seen() -> None:
    """A weighted mean of equal rows is the same however many they are; the empty place makes it differ."""
    model = head()
    one = torch.zeros(1, 12, 8, 8)
    one[0, :, 2, 2] = 5
    three = one.clone()
    three[0, :, [4, 6], [4, 1]] = 5
    coarse = torch.zeros(1, 12, 4, 4)
    text = features(texts=2)
    logits = [answered(Features((fine, coarse), text.tokens[:1], text.token_mask[:1]), model) for fine in (one, three)]
    assert not torch.allclose(*logits, atol=1e-4)


@pytest.mark.parametrize("looks", [1, 3])
def test_looks_can_be_chosen(looks: int) -> None:
    assert len(head(replace(CONFIG, looks=looks)).looks) == looks
    assert answered(features(), head(replace(CONFIG, looks=looks))).shape == (2, 5)


def test_questions_side_by_side_are_answered_as_each_alone() -> None:
    own = features()
    segments = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    text = TextBatch(torch.zeros_like(segments), own.token_mask, segments)
    together = head()(own, text, regions_of(own))
    assert together.shape == (2, 2, 5)
    assert together.isfinite().all()  # those without a token too
    questions = text.segment_map()
    for row, place in questions.any(dim=-1).nonzero().tolist():
        tokens = own.tokens[row : row + 1, questions[row, place]]
        levels = tuple(level[row : row + 1] for level in own.levels)
        alone = answered(Features(levels, tokens, torch.ones(tokens.shape[:2], dtype=torch.bool)))
        assert_close(together[row, place], alone[0])


def test_what_words_are_aligned_with_changes_the_answer() -> None:
    own = features()
    text = TextBatch(torch.zeros(2, 6, dtype=torch.int64), own.token_mask)
    regions = regions_of(own)
    other = replace(regions, alignment_logits=regions.alignment_logits.roll(5, dims=1))
    assert not torch.isclose(head()(own, text, other), head()(own, text, regions), atol=1e-5).all(dim=-1).any()


def test_how_large_and_where_aligned_boxes_are_changes_the_answer() -> None:
    own = features()
    text = TextBatch(torch.zeros(2, 6, dtype=torch.int64), own.token_mask)
    regions = regions_of(own)
    anchors = torch.tensor([8.0, 8.0, 40.0, 40.0]).expand(80, 4)
    said = [head()(own, text, replace(regions, anchors=some)) for some in (anchors, anchors * 2, anchors + 32)]
    assert not torch.allclose(said[0], said[1], atol=1e-5)
    assert not torch.allclose(said[0], said[2], atol=1e-5)
