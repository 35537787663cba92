"""Claims about the core with its region head: what padding, neighbours and text may and may not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.data.collate import repeated
from glipv2.data.prompts import PromptComposer, PromptConfig, collate_prompts
from glipv2.errors import UserError
from glipv2.kernels import POSITIONS_AT_ONCE
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.fusion import FusionConfig, flatten_levels, unflatten_levels
from glipv2.structures import (
    DetectionBatch,
    Detections,
    ImageBatch,
    ImageTruth,
    PromptBatch,
    RegionTargets,
    TextBatch,
    Vocabulary,
)
from glipv2.tasks.detection import DetectionConfig, DetectionTask

VOCABULARY = Vocabulary(("red circle", "blue square", "green star"))
SIZES = ((64, 96), (64, 64), (50, 90), (64, 40))


def built(model: ModelConfig) -> DetectionTask:
    """A seeded detector whose scores and boxes vary, with a low bar for candidates."""
    torch.manual_seed(0)
    config = DetectionConfig()
    config.selection.min_probability = 0.0
    task = config.build(model, LossConfig.grounding_only()).eval()
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
        task.regions.box_deltas.weight.normal_(std=0.2)
    task.vocabulary = VOCABULARY
    return task


@pytest.fixture(params=["tiny", "nano", "without fusion", "deformable"])
def varied(
    request: pytest.FixtureRequest, model_config: ModelConfig, preset: Callable[[str], ModelConfig]
) -> DetectionTask:
    """Detectors of every kind of part."""
    if request.param == "nano":
        return built(preset("nano"))
    if request.param == "without fusion":
        fusion = replace(model_config.fusion, cross_attention=False)
        return built(replace(model_config, fusion=fusion, regions=replace(model_config.regions, fused_words=False)))
    if request.param == "deformable":
        return built(replace(model_config, fusion=replace(model_config.fusion, reread_offsets=True)))
    return built(replace(model_config, fusion=replace(model_config.fusion, deformable=False)))


def pictures(seed: int = 0) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randint(256, (3, *size), generator=rng, dtype=torch.uint8) for size in SIZES]


def prompts_for(task: DetectionTask, count: int, **options: int) -> tuple[PromptBatch, ...]:
    composer = PromptComposer(VOCABULARY, task.model_config.tokenizer.build(), PromptConfig(**options))  # type: ignore[arg-type]
    found = [collate_prompts([prompt], composer.tokenizer)[0] for prompt in composer.all_names()]
    return tuple(repeated(prompt, count) for prompt in found)


def batch_of(task: DetectionTask, images: Sequence[Tensor], **options: int) -> DetectionBatch:
    empty = torch.zeros(0)
    truth = tuple(
        ImageTruth(index, "", (image.shape[1], image.shape[2]), empty.reshape(0, 4), empty.long(), empty.bool(), empty)
        for index, image in enumerate(images)
    )
    pixels = task.model_config.pixels.batch(list(images))
    return DetectionBatch(pixels, prompts_for(task, len(images), **options), None, truth)


def longer(prompt: PromptBatch, more: int) -> PromptBatch:
    """The same prompt with `more` padding tokens, whose ids are not the padding id."""
    ids = torch.cat([prompt.text.token_ids, torch.full((len(prompt.text.token_ids), more), 7)], dim=1)
    mask = torch.nn.functional.pad(prompt.text.token_mask, (0, more))
    phrase_map = torch.nn.functional.pad(prompt.phrase_map, (0, more))
    return PromptBatch(TextBatch(ids, mask), phrase_map, prompt.phrase_labels)


def same(first: Sequence[Detections], second: Sequence[Detections]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert len(one) == len(other) > 0
        assert_close(one.scores, other.scores, atol=1e-5, rtol=1e-4)
        assert_close(one.boxes, other.boxes, atol=1e-2, rtol=1e-4)
        assert one.names == other.names


@torch.no_grad()
def test_padding_a_prompt_changes_no_number(varied: DetectionTask) -> None:
    images = varied.model_config.pixels.batch(pictures())
    prompt = prompts_for(varied, len(SIZES))[0]
    length = prompt.text.token_ids.shape[1]
    short, long = varied(images, prompt), varied(images, longer(prompt, 45))
    real = prompt.text.token_mask[0].nonzero()[:, 0]
    assert_close(
        long.alignment_logits[..., :length][..., real], short.alignment_logits[..., real], atol=1e-5, rtol=1e-4
    )
    assert_close(long.box_deltas, short.box_deltas, atol=1e-5, rtol=1e-4)
    assert_close(long.centerness, short.centerness, atol=1e-5, rtol=1e-4)
    assert short.alignment_logits[..., real].std() > 1e-3  # the numbers are worth comparing


@torch.no_grad()
def test_a_batch_gives_each_image_what_it_gets_alone(varied: DetectionTask) -> None:
    images = pictures()
    together = varied.predictions(batch_of(varied, images))
    alone = [varied.predictions(batch_of(varied, [image]))[0] for image in images]
    same(together, alone)
    backwards = varied.predictions(batch_of(varied, images[::-1]))
    same(together, backwards[::-1])


@torch.no_grad()
def test_padding_an_image_further_changes_no_box(varied: DetectionTask) -> None:
    batch = batch_of(varied, pictures())
    wider = torch.nn.functional.pad(batch.images.pixels, (0, 64, 0, 32))
    padded = replace(batch, images=ImageBatch(wider, batch.images.image_sizes))
    same(varied.predictions(batch), varied.predictions(padded))


@torch.no_grad()
def test_names_split_over_prompts_are_all_found_and_the_image_is_read_once(varied: DetectionTask) -> None:
    calls: list[int] = []
    varied.core.image.register_forward_hook(lambda *_: calls.append(1))
    found = varied.predictions(batch_of(varied, pictures()[:1], eval_names=1))[0]
    assert set(found.names) == set(VOCABULARY.names)
    assert len(calls) == 1


@torch.no_grad()
@pytest.mark.parametrize(
    ("texts", "reads", "room", "groups"),
    [
        (1, [(2, 0), (2, 0), (2, 3)], 0, [2, 2, 2]),
        (8, [(6, 3)], 0, [2, 2, 2]),
        (4, [(4, 0), (2, 3)], 2, [4, 2]),  # those of one length are read together
        (1, [(6, 3)], 3, [6]),
    ],
)
def test_prompts_are_read_and_fused_together_where_there_is_room_and_give_what_they_give_alone(
    varied: DetectionTask, monkeypatch: pytest.MonkeyPatch, texts: int, reads: list[tuple[int, int]], room: int,
    groups: list[int],
) -> None:  # fmt: skip
    batch = batch_of(varied, [pictures()[0]] * 2, eval_names=1)
    prompts = [batch.prompts[0], longer(batch.prompts[1], 3), batch.prompts[2]]  # of several lengths
    levels = varied.core.image(batch.images.pixels)
    alone = [varied.core.fuse(levels, prompt.text).after for prompt in prompts]
    positions = 2 * sum(level.shape[-2] * level.shape[-1] for level in levels)
    monkeypatch.setitem(POSITIONS_AT_ONCE, "cpu", room * positions)
    monkeypatch.setattr("glipv2.kernels.TEXTS_AT_ONCE", texts)
    read: list[tuple[int, int]] = []  # rows, and tokens beyond those of the shortest prompt
    fused: list[int] = []
    shortest = prompts[0].text.token_ids.shape[1]
    varied.core.text.register_forward_hook(
        lambda _, given, __: read.append((len(given[0].token_ids), given[0].token_ids.shape[1] - shortest))
    )
    varied.core.fusion.register_forward_hook(lambda _, given, __: fused.append(len(given[1])))
    together = list(varied.core.fuse_each(levels, [prompt.text for prompt in prompts]))
    assert (read, fused) == (reads, groups)
    for one, other in zip(together, alone, strict=True):
        assert_close(one.levels, other.levels, atol=1e-5, rtol=1e-4)
        assert torch.equal(one.token_mask, other.token_mask)
        real = other.token_mask
        assert_close(one.tokens[real], other.tokens[real], atol=1e-5, rtol=1e-4)
    if varied.model_config.fusion.cross_attention:
        assert not torch.equal(together[0].levels[0], together[2].levels[0])


@torch.no_grad()
def test_image_and_text_read_each_other_only_through_fusion(model_config: ModelConfig) -> None:
    for cross_attention in (True, False):
        fusion = replace(model_config.fusion, cross_attention=cross_attention)
        core = built(replace(model_config, fusion=fusion)).core
        image, other = (ImageBatch(torch.randn(1, 3, 64, 64), torch.tensor([[64, 64]])) for _ in range(2))
        text, rest = (TextBatch(torch.tensor([[2, *ids, 3]]), torch.ones(1, 4).bool()) for ids in ((10, 11), (12, 13)))
        plain, new_text, new_image = core(image, text), core(image, rest), core(other, text)
        reads_text = not torch.equal(plain.after.levels[0], new_text.after.levels[0])
        reads_image = not torch.equal(plain.after.tokens, new_image.after.tokens)
        assert (reads_text, reads_image) == (cross_attention, cross_attention)
        assert torch.equal(plain.before.levels[0], new_text.before.levels[0])  # before fusion nobody has read
        assert torch.equal(plain.before.tokens, new_image.before.tokens)
        assert not torch.equal(plain.after.levels[0], new_image.after.levels[0])


def test_layers_before_the_crossing_ones_do_not_read_across(model_config: ModelConfig) -> None:
    fusion = replace(model_config.fusion, layers=2, crossing=1)
    tower = fusion.build(32, 32)
    assert [layer.cross is not None for layer in tower.layers] == [False, True]
    assert [layer.text is not None for layer in tower.layers] == [False, True]
    every = replace(fusion, crossing=0).build(32, 32)
    assert [layer.cross is not None for layer in every.layers] == [True, True]
    with pytest.raises(UserError, match=r"model.fusion.crossing: expected at most model.fusion.layers, 2, but got 3"):
        replace(fusion, crossing=3).build(32, 32)


def test_what_a_text_reads_of_an_image_beforehand_is_what_it_reads_in_the_tower(model_config: ModelConfig) -> None:
    tower = replace(model_config.fusion, layers=2, crossing=1, deformable=False).build(32, 32).eval()
    levels, tokens = (torch.randn(2, 32, 6, 8), torch.randn(2, 32, 3, 4)), torch.randn(2, 5, 32)
    apart = torch.arange(5).expand(2, 5)  # one token a text: nothing is before it, and nothing beside it
    text = TextBatch(torch.ones(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.bool), apart)
    fused = tower(levels, tokens, text, image_reads=False)[1]
    path = tower.image_path(levels, 5)
    assert len(path) == 1
    assert_close(tower.text_path(text, tokens, path), fused, rtol=1e-5, atol=1e-5)


def test_flattened_levels_come_back_in_their_shapes() -> None:
    levels = tuple(torch.randn(2, 3, *size) for size in ((5, 7), (3, 4), (2, 2)))
    rows = flatten_levels(levels)
    assert rows.shape == (2, 35 + 12 + 4, 3)
    assert torch.equal(rows[1, 35 + 4 + 1], levels[1][1, :, 1, 1])  # row-major
    assert all(torch.equal(*pair) for pair in zip(levels, unflatten_levels(rows, levels), strict=True))


# Training


def training_batch(task: DetectionTask, with_boxes: bool) -> DetectionBatch:
    batch = batch_of(task, pictures())
    length = batch.prompts[0].text.token_ids.shape[1]
    count = 2 if with_boxes else 0
    boxes = torch.tensor([[4.0, 4.0, 40.0, 36.0], [10.0, 6.0, 38.0, 50.0]])[:count].expand(4, -1, -1)
    positive = batch.prompts[0].phrase_map[:, :count, :length]
    return replace(batch, targets=RegionTargets(boxes, torch.ones(4, count, dtype=torch.bool), positive))


@pytest.mark.parametrize("with_boxes", [True, False])
def test_gradients_reach_every_parameter(varied: DetectionTask, with_boxes: bool) -> None:
    """A parameter without one would stop distributed training."""
    varied.train()
    report = varied.losses(training_batch(varied, with_boxes))
    report.total.backward()
    gradients = {name: parameter.grad for name, parameter in varied.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values() if gradient is not None)
    assert set(report.terms) == {"alignment", "box", "centerness"}
    if with_boxes:
        zero = [name for name, gradient in gradients.items() if gradient is not None and not gradient.any()]
        own = [name for name in zero if not name.startswith("core.image.backbone.")]  # timm starts branches at 0
        assert [name for name in own if not name.endswith("key.bias")] == []  # softmax ignores a key's bias


def test_under_bf16_autocast_losses_and_predictions_are_finite(varied: DetectionTask) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        total = varied.losses(training_batch(varied, with_boxes=True)).total
        with torch.no_grad():
            found = varied.predictions(batch_of(varied, pictures()))
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(p.grad).all() for p in varied.parameters() if p.grad is not None)
    assert all(torch.isfinite(one.boxes).all() and torch.isfinite(one.scores).all() for one in found)
    assert all(len(one) for one in found)


def test_dropout_is_the_only_difference_of_training_mode(model_config: ModelConfig) -> None:
    fusion: FusionConfig = replace(model_config.fusion, dropout=0.0)
    task = built(replace(model_config, fusion=fusion, image=replace(model_config.image, drop_block=0.5)))
    images, prompt = task.model_config.pixels.batch(pictures()[:1]), prompts_for(task, 1)[0]
    quiet = [task(images, prompt).centerness for _ in range(2)]
    assert torch.equal(*quiet)
    pyramid = task.core.image.pyramid.train()
    loud = [task(images, prompt).centerness for _ in range(2)]
    assert not torch.equal(*loud)
    pyramid.eval()
    assert torch.equal(task(images, prompt).centerness, quiet[0])
