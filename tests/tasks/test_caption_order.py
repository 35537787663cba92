"""Claims about captioning: no word knows of later ones, and the image of none."""

from __future__ import annotations

from dataclasses import replace

import torch
from captioners import (
    built,
    levels_of,
    logits,
    with_text,
    words,
)
from torch.testing import assert_close

from glipv2.models import ModelConfig
from glipv2.models.fusion import flatten_levels
from glipv2.structures import TextBatch
from glipv2.tasks.captioning import CaptioningTask


@torch.no_grad()
def test_what_comes_after_a_word_changes_nothing_before_it(captioner: CaptioningTask) -> None:
    text = words(2, 9)
    before = logits(captioner, text)
    for place in (1, 4, 8):
        changed = text.token_ids.clone()
        changed[:, place:] = words(2, 9, seed=1).token_ids[:, place:]
        after = logits(captioner, replace(text, token_ids=changed))
        assert_close(after[:, :place], before[:, :place], atol=1e-5, rtol=1e-5)
        assert (after[:, place] - before[:, place]).abs().amax() > 1e-2


@torch.no_grad()
def test_a_word_depends_on_those_before_it(captioner: CaptioningTask) -> None:
    text = words(2, 9)
    changed = text.token_ids.clone()
    changed[:, 3] = 7
    difference = (logits(captioner, replace(text, token_ids=changed)) - logits(captioner, text)).abs().amax(dim=(0, 2))
    assert (difference[3:] > 1e-4).all()


@torch.no_grad()
def test_padding_after_a_caption_changes_nothing(captioner: CaptioningTask) -> None:
    text = words(2, 6)
    longer = TextBatch(
        torch.nn.functional.pad(text.token_ids, (0, 4)), torch.nn.functional.pad(text.token_mask, (0, 4))
    )
    path = captioner.core.image_path(levels_of(captioner))
    assert_close(
        captioner.core.text_path(longer, path)[:, :6], captioner.core.text_path(text, path), atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_a_windowed_encoder_keeps_its_window(model_config: ModelConfig) -> None:
    encoder = built(with_text(model_config, "windowed modernbert")).core.text
    text = words(1, 12)
    changed = text.token_ids.clone()
    changed[:, 3] = 7
    moved = (encoder.causal(replace(text, token_ids=changed)) - encoder.causal(text)).abs().amax(dim=2)[0] > 1e-5
    assert moved.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]  # two layers that each look two tokens back


@torch.no_grad()
def test_captions_change_nothing_that_is_seen_of_the_image(plain: CaptioningTask) -> None:
    levels = levels_of(plain)
    path = plain.core.image_path(levels)
    kept = [rows.to(torch.float64) for rows in path]  # a copy
    plain.core.text_path(words(2, 5), path)
    plain.core.text_path(words(6, 7), path)
    for rows, copy in zip(path, kept, strict=True):
        assert torch.equal(rows.image.double(), copy.image)


@torch.no_grad()
def test_captions_depend_on_the_image(plain: CaptioningTask) -> None:
    text = words(1, 5)
    pair = replace(text, token_ids=text.token_ids.expand(2, -1), token_mask=text.token_mask.expand(2, -1))
    first, second = plain.core.text_path(pair, plain.core.image_path(levels_of(plain)))
    assert (first - second).abs().amax() > 1e-4


@torch.no_grad()
def test_one_side_alone_computes_what_both_compute_together(plain: CaptioningTask) -> None:
    cross = plain.core.fusion.layers[0].cross
    image, text = flatten_levels(levels_of(plain)), torch.randn(2, 5, 32)
    _, together = cross(image, text, torch.ones(2, 5, dtype=torch.bool))
    for tokens in (1, 10_000):  # few read the image in its own width, many projected
        normed, rows = cross.of_image(image, tokens)
        assert (rows.projected is None) == (tokens == 1)
        assert_close(cross.of_text(text, rows), together, atol=1e-5, rtol=1e-5)
        assert torch.equal(normed, cross.image_norm(image))  # replaced by its norm, and by nothing of the text


@torch.no_grad()
def test_several_captions_of_an_image_share_what_is_seen_of_it(plain: CaptioningTask) -> None:
    path = plain.core.image_path(levels_of(plain))
    text = words(6, 5)  # three of the first image, three of the second
    together = plain.core.text_path(text, path)
    own = tuple(rows.of(torch.tensor([0, 0, 0, 1, 1, 1])) for rows in path)
    assert_close(plain.core.text_path(text, own), together, atol=1e-5, rtol=1e-5)
