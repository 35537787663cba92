"""Claims about the mask head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from glipv2.models.heads import masks as heads
from glipv2.models.heads.masks import Hourglass, MaskHead, MaskHeadConfig, MaskRegions
from glipv2.structures import Features

WIDTH, TEXT_WIDTH, TOKENS = 12, 10, 7
CONFIG = MaskHeadConfig(cells=4, width=8, pixels=True)


def head_of(config: MaskHeadConfig = CONFIG) -> MaskHead:
    torch.manual_seed(0)
    head = config.build(WIDTH, TEXT_WIDTH, first_stride=8)
    with torch.no_grad():
        for parameter in head.parameters():  # nothing stays at its harmless start
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    return head


def features_of(images: int = 2, side: int = 128) -> tuple[Features, Tensor]:
    """Three levels, tokens and pixels of square images."""
    rng = torch.Generator().manual_seed(2)
    levels = tuple(torch.randn(images, WIDTH, side // s, side // s, generator=rng) for s in (8, 16, 32))
    tokens = torch.randn(images, TOKENS, TEXT_WIDTH, generator=rng)
    pixels = torch.randn(images, 3, side, side, generator=rng)
    return Features(levels, tokens, torch.ones(images, TOKENS, dtype=torch.bool)), pixels


def regions_of() -> MaskRegions:
    """Small, large and flat boxes in two images, of phrases of one to three tokens."""
    boxes = torch.tensor([[8.0, 8, 40, 30], [0, 0, 128, 128], [60, 20, 61, 90], [30.5, 40.25, 90, 100], [5, 5, 9, 9]])
    tokens = torch.zeros(5, TOKENS, dtype=torch.bool)
    for row, own in enumerate([(1,), (2, 3), (1, 2, 3), (5,), (4, 6)]):
        tokens[row, list(own)] = True
    return MaskRegions(boxes, torch.tensor([0, 1, 1, 0, 1]), tokens)


def taken(regions: MaskRegions, rows: list[int]) -> MaskRegions:
    return MaskRegions(regions.boxes[rows], regions.images[rows], regions.tokens[rows])


def test_the_words_mean_gives_the_mean_of_the_tokens_logit_maps() -> None:
    """Against the released order: a map for every token, then the mean over those of the phrase."""
    head = head_of().double()
    torch.manual_seed(3)
    cells, tokens = torch.randn(5, 8, 6, 6).double(), torch.randn(2, TOKENS, TEXT_WIDTH).double()
    regions = regions_of()
    found = head._matched(cells, tokens, regions)
    for row, (image, own) in enumerate(zip(regions.images.tolist(), regions.tokens, strict=True)):
        normalized = F.normalize(tokens[image], dim=-1)
        maps = torch.einsum("tc,chw->thw", head.words(normalized / 2), cells[row]) / head.log_scale.exp()
        maps = maps + (normalized @ head.word_bias)[:, None, None]
        assert_close(found[row], maps[own].mean(dim=0))


def test_a_box_is_read_where_it_still_spans_the_cells() -> None:
    head = head_of(MaskHeadConfig(cells=4, width=8))
    with torch.no_grad():
        head.project.weight.zero_()
        head.project.weight[0, 0] = 1
        head.project.bias.zero_()  # type: ignore[union-attr]
    features, _ = features_of(1)
    constant = tuple(torch.full_like(level, float(index)) for index, level in enumerate(features.levels))
    sides = [4.0, 63.0, 65.0, 127.0]  # 4 cells at strides 8, 16 and 32 are 32, 64 and 128 pixels
    corners = torch.tensor([[0.0, 0, 0, side, side] for side in sides])
    assert head._pooled(constant, corners)[:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    assert head._pooled(constant, torch.tensor([[0.0, 0, 0, 128, 128]]))[0, 0, 0, 0] == 2
    two = constant[:2]
    assert head._pooled(two, torch.tensor([[0.0, 0, 0, 128, 128]]))[0, 0, 0, 0] == 1  # there is no coarser one


def test_boxes_together_give_what_each_gives_alone() -> None:
    head, regions = head_of(), regions_of()
    features, pixels = features_of()
    together = head(features, pixels, regions)
    assert together.shape == (5, 8, 8)
    for row in range(5):
        assert_close(head(features, pixels, taken(regions, [row]))[0], together[row], atol=1e-4, rtol=1e-4)
    many = taken(regions, [0, 1, 2, 3, 4] * 7)
    assert_close(head(features, pixels, many), together.repeat(7, 1, 1), atol=1e-4, rtol=1e-4)


def test_images_together_give_what_each_gives_alone() -> None:
    head, regions = head_of(), regions_of()
    features, pixels = features_of()
    together = head(features, pixels, regions)
    for image in range(2):
        own = (regions.images == image).nonzero()[:, 0].tolist()
        levels = tuple(level[image : image + 1] for level in features.levels)
        tokens, mask = features.tokens[image : image + 1], features.token_mask[image : image + 1]
        alone = replace(taken(regions, own), images=torch.zeros(len(own), dtype=torch.int64))
        found = head(Features(levels, tokens, mask), pixels[image : image + 1], alone)
        assert_close(found, together[own], atol=1e-4, rtol=1e-4)


def test_another_phrase_gives_another_mask_of_the_same_box() -> None:
    head, regions = head_of(), regions_of()
    features, pixels = features_of()
    other = replace(regions, tokens=regions.tokens.roll(1, dims=1))
    assert (head(features, pixels, regions) - head(features, pixels, other)).abs().amax(dim=(1, 2)).min() > 0.01


def test_a_box_without_area_gives_numbers() -> None:
    head = head_of()
    features, pixels = features_of()
    boxes = torch.tensor([[8.0, 8, 8, 8], [30, 30, 30, 60], [200, 200, 210, 210]])
    logits = head(features, pixels, replace(taken(regions_of(), [0, 1, 2]), boxes=boxes))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in head.parameters())


def test_no_box_gives_no_mask_and_reaches_every_parameter() -> None:
    """With several processes a parameter without gradient on one rank would hang the others."""
    head = head_of()
    features, pixels = features_of()
    logits = head(features, pixels, taken(regions_of(), []))
    assert logits.shape == (0, 8, 8)
    logits.sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in head.parameters())
    assert head.probabilities(features, pixels, taken(regions_of(), [])).shape == (0, 8, 8)


def test_probabilities_are_made_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    head, regions = head_of(), regions_of()
    features, pixels = features_of()
    whole = head(features, pixels, regions).sigmoid()
    monkeypatch.setattr(heads, "REGIONS_AT_ONCE", 2)
    assert_close(head.probabilities(features, pixels, regions), whole, atol=1e-5, rtol=1e-4)


def test_the_picture_is_read_only_where_it_is_asked_for() -> None:
    features, pixels = features_of()
    assert_close(
        head_of(replace(CONFIG, pixels=False))(features, pixels, regions_of()),
        head_of(replace(CONFIG, pixels=False))(features, pixels + 1, regions_of()),
    )
    difference = head_of()(features, pixels, regions_of()) - head_of()(features, pixels + 1, regions_of())
    assert difference.abs().max() > 0.01


def test_logits_keep_their_precision_under_autocast() -> None:
    head = head_of()
    cells, tokens = torch.randn(5, 8, 6, 6), torch.randn(2, TOKENS, TEXT_WIDTH)
    exact = head._matched(cells, tokens, regions_of())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(head._matched(cells, tokens, regions_of()), exact)
        logits = head(*features_of(), regions_of())
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_hourglass_keeps_odd_shapes_and_starts_without_a_turn(depth: int) -> None:
    hourglass = Hourglass(4, depth)
    cells = torch.rand(2, 4, 7, 5)
    out = hourglass(cells)
    assert out.shape == cells.shape
    with torch.no_grad():
        for residual in hourglass.modules():
            if isinstance(residual, heads.Residual):
                residual.second.bias.zero_()  # type: ignore[union-attr]
    assert hourglass(torch.ones(1, 4, 8, 8)).unique().tolist() == [depth + 1]
