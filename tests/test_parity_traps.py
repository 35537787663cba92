"""Claims about the comparison with the released code: each known trap, walked into in one place, makes it fail.

The same comparison runs on the released numbers in `test_parity.py`. Here a small model records what
it gives, is then broken in one place, and must no longer agree with its own record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import parity
import parity_case
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from parity_samples import recorded_case, recorded_photo, small_task, tokenizer
from parity_text import Case
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor

import glipv2.checkpoints
from glipv2.checkpoints import released_model
from glipv2.config import model_preset
from glipv2.data import prompts, unlabelled
from glipv2.data.prompts import PromptComposer
from glipv2.models import cross_attention, dyconv, fusion
from glipv2.models.cross_attention import CrossAttention
from glipv2.models.heads import selection
from glipv2.models.heads.regions import RegionHead
from glipv2.models.heads.selection import ScoredBoxes, candidate_boxes
from glipv2.models.image import FeaturePyramid
from glipv2.models.swin import PadThenShiftBlock
from glipv2.models.text import TextEncoder
from glipv2.pixels import PixelConfig
from glipv2.structures import BoxConvention, Instances, Prompt, RegionOutputs, TextBatch
from glipv2.structures import boxes as box_arithmetic
from glipv2.tasks.detection import DetectionTask

TOLERANCE = 1e-5
LEVELS = ((8, 12), (4, 6), (2, 3), (1, 2), (1, 1))  # of the small case, 64 x 96 pixels
SHORTER = 42  # rows of its second image

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]


@pytest.fixture
def small(cut_glip: object) -> DetectionTask:
    """A GLIP-T cut down, with the released conventions and random weights."""
    return small_task(glipv2.checkpoints.released_model("glip_t"))


def forward_rows(task: DetectionTask, case: Case) -> list[parity.Row]:
    return parity.forward_rows(task, case, tokenizer(), TOLERANCE)[0]


def beyond(rows: list[parity.Row]) -> set[str]:
    """Arrays that differ clearly."""
    return {row.name for row in rows if row.difference > 10 * row.tolerance}


def test_an_unbroken_model_agrees_with_its_own_record(small: DetectionTask, tmp_path: Path) -> None:
    case, photo = recorded_case(small), recorded_photo(small, tmp_path)
    assert set(parity_case.arrays_due(small.model_config)) < set(case)
    assert max(row.difference for row in forward_rows(small, case)) < 1e-7
    assert min(len(case["boxes.0"]), len(photo["boxes"])) > 20
    rows = parity.photo_rows(small, photo, tmp_path / "noise.png", tokenizer(), TOLERANCE)
    assert max(row.difference for row in rows) < 1e-7


def test_the_alignment_written_down_again_is_the_models(small: DetectionTask, monkeypatch: Patch) -> None:
    case = recorded_case(small)
    alignment_without()(monkeypatch)  # the breaks below leave parts of it out
    assert max(row.difference for row in forward_rows(small, case)) < 1e-7


def test_the_released_slips_are_off_until_weights_bring_them() -> None:
    for name in ("glip_t", "glip_t_a", "glip_l", "nano", "small"):
        model = model_preset(name)
        assert (model.fusion.reread_offsets, model.regions.inclusive_boxes) == (False, False)
    assert BoxConvention() == BoxConvention(inclusive=False)
    released = released_model("glip_t")
    assert (released.fusion.reread_offsets, released.regions.boxes) == (
        True,
        BoxConvention(inclusive=True, last_pixels=True),
    )


def test_train_and_eval_give_the_module_back(small: DetectionTask) -> None:
    assert small.eval() is small
    assert small.train() is small
    assert small.core.image.eval() is small.core.image
    assert small.core.image.train() is small.core.image


# Breaks of the model: a patch each, and the stage where it must show


def resized_offsets(patch: Patch) -> None:
    right = dyconv.offsets_for
    patch.setattr(dyconv, "offsets_for", lambda values, size, reread: right(values, size, False))


def offsets_in_x_and_y(patch: Patch) -> None:
    right = dyconv.deformed

    def swapped(level: Tensor, offsets: Tensor, *rest: Any, **more: Any) -> Tensor:
        return right(level, offsets.unflatten(1, (9, 2)).flip(2).flatten(1, 2), *rest, **more)  # type: ignore[no-any-return]

    patch.setattr(dyconv, "deformed", swapped)


def half_pixel_upsampling(patch: Patch) -> None:
    def interpolate(*arguments: Any, **more: Any) -> Tensor:
        return F.interpolate(*arguments, **{**more, "align_corners": False})

    patch.setattr(dyconv, "F", SimpleNamespace(**{**vars(F), "interpolate": interpolate}))


def usual_residual(patch: Patch) -> None:
    right = CrossAttention.forward

    def forward(self: CrossAttention, image: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        fused_image, fused_text = right(self, image, text, mask)
        return fused_image - self.image_norm(image) + image, fused_text - self.text_norm(text) + text

    patch.setattr(CrossAttention, "forward", forward)


def image_padding_masked(patch: Patch) -> None:
    right = CrossAttention.forward
    inside = torch.cat([torch.arange(h * w) // w * 8 * 2**level < SHORTER for level, (h, w) in enumerate(LEVELS)])

    def forward(self: CrossAttention, image: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return right(self, image, text, mask)[0], right(self, image[:, inside], text, mask)[1]

    patch.setattr(CrossAttention, "forward", forward)


def alignment_without(*left_out: str) -> Break:
    """The text logits written down again, with parts left out."""

    def alignment(self: RegionHead, rows: Tensor, tokens: Tensor) -> Tensor:
        normal = tokens if "normalize" in left_out else F.normalize(tokens, dim=-1)
        words = self.words(normal if "half" in left_out else normal / 2)
        bias = 0 if "word bias" in left_out else normal @ self.word_bias
        scale = 1 if "scale" in left_out else self.log_scale.exp()
        prior = 0 if "prior" in left_out else self.prior_bias
        return (
            rows @ words.transpose(1, 2) / scale + (bias + prior + torch.zeros(len(tokens), tokens.shape[1]))[:, None]
        )

    return lambda patch: patch.setattr(RegionHead, "_alignment", alignment)


def timms_windows(patch: Patch) -> None:
    patch.setattr(PadThenShiftBlock, "forward", SwinTransformerBlock.forward)
    patch.setattr(PadThenShiftBlock, "_attn", SwinTransformerBlock._attn)


def windows_shrunk_to_the_map(patch: Patch) -> None:
    right = PadThenShiftBlock.forward

    def forward(self: PadThenShiftBlock, x: Tensor) -> Tensor:
        if min(x.shape[1:3]) <= min(self.window_size):  # timm: a map of one window is not shifted
            patch.setattr(self, "shift_size", (0, 0))
        return right(self, x)

    patch.setattr(PadThenShiftBlock, "forward", forward)


def shifted_windows_unmasked(patch: Patch) -> None:
    patch.setattr(PadThenShiftBlock, "get_attn_mask", lambda self, x: None)


def no_relu_before_the_last_level(patch: Patch) -> None:
    right = FeaturePyramid.forward

    def forward(self: FeaturePyramid, maps: list[Tensor]) -> tuple[Tensor, ...]:
        levels = right(self, maps)
        return (*levels[:4], self.extra[1](levels[3]))

    patch.setattr(FeaturePyramid, "forward", forward)


@pytest.mark.parametrize(
    ("broken", "shows"),
    [
        (resized_offsets, "tower.2.visual.0"),
        (offsets_in_x_and_y, "tower.2.visual.0"),
        (half_pixel_upsampling, "tower.2.visual.0"),
        (usual_residual, "tower.0.visual.0"),
        (image_padding_masked, "tower.0.text"),
        pytest.param(alignment_without("normalize"), "alignment_logits.0", id="no normalize"),
        pytest.param(alignment_without("half"), "alignment_logits.0", id="no half"),
        pytest.param(alignment_without("word bias"), "alignment_logits.0", id="no word bias"),
        pytest.param(alignment_without("scale"), "alignment_logits.0", id="no scale"),
        pytest.param(alignment_without("prior"), "alignment_logits.0", id="no prior"),
        (timms_windows, "backbone.2"),
        (windows_shrunk_to_the_map, "backbone.2"),
        (shifted_windows_unmasked, "backbone.2"),
        (no_relu_before_the_last_level, "fpn.4"),
    ],
)
def test_a_trap_of_the_model_shows_where_it_is(
    small: DetectionTask, monkeypatch: Patch, broken: Break, shows: str
) -> None:
    case = recorded_case(small)
    broken(monkeypatch)
    assert shows in beyond(forward_rows(small, case))


# Breaks of the post-processing


def exclusive(part: str) -> Break:
    """One operation on boxes without the released "+1"."""
    right = getattr(BoxConvention, part)
    return lambda patch: patch.setattr(BoxConvention, part, lambda self, *rest: right(BoxConvention(False), *rest))


def other_candidates(change: Callable[..., ScoredBoxes]) -> Break:
    """`candidate_boxes` with its result changed."""
    return lambda patch: patch.setattr(parity_case, "candidate_boxes", change)


def threshold_after_centerness(*arguments: Any) -> ScoredBoxes:
    *rest, config = arguments
    found = candidate_boxes(*rest, replace(config, min_probability=0.0))
    keep = found.scores.square() > config.min_probability
    return ScoredBoxes(found.boxes[keep], found.scores[keep], found.labels[keep])


def no_root(*arguments: Any) -> ScoredBoxes:
    found = candidate_boxes(*arguments)
    return replace(found, scores=found.scores.square())


def no_centerness(outputs: RegionOutputs, *rest: Any) -> ScoredBoxes:
    return candidate_boxes(replace(outputs, centerness=torch.full_like(outputs.centerness, 1e9)), *rest)


def most_likely_token(patch: Patch) -> None:
    def probabilities(logits: Tensor, phrases: Tensor) -> Tensor:
        return torch.stack([logits[:, tokens].sigmoid().amax(dim=1) for tokens in phrases], dim=1)

    patch.setattr(selection, "phrase_probabilities", probabilities)


def suppression_across_labels(patch: Patch) -> None:
    right = BoxConvention.suppress

    def suppress(self: BoxConvention, boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
        return right(self, boxes, scores, torch.zeros_like(labels), threshold)

    patch.setattr(BoxConvention, "suppress", suppress)


@pytest.mark.parametrize(
    ("broken", "shows"),
    [
        pytest.param(exclusive("cell_anchor"), "boxes.0", id="exclusive cell_anchor"),
        pytest.param(exclusive("decode"), "boxes.0", id="exclusive decode"),
        pytest.param(exclusive("clip"), "boxes.0", id="exclusive clip"),
        pytest.param(exclusive("suppress"), "labels.0", id="exclusive suppress"),
        pytest.param(other_candidates(threshold_after_centerness), "labels.0", id="threshold_after_centerness"),
        pytest.param(other_candidates(no_root), "scores.0", id="no_root"),
        pytest.param(other_candidates(no_centerness), "scores.0", id="no_centerness"),
        (most_likely_token, "scores.0"),
        (suppression_across_labels, "labels.0"),
    ],
)
def test_a_trap_of_the_post_processing_shows_in_the_boxes(
    small: DetectionTask, monkeypatch: Patch, broken: Break, shows: str
) -> None:
    case = recorded_case(small)
    broken(monkeypatch)
    found = beyond(forward_rows(small, case))
    assert shows in found
    assert found <= {f"{name}.{image}" for name in parity_case.BOX_ARRAYS for image in range(2)}


# Breaks of what lies around the model


def red_first(patch: Patch) -> None:
    right = PixelConfig.normalize
    patch.setattr(PixelConfig, "normalize", lambda self, pixels: right(replace(self, bgr=False), pixels))


def means_of_the_other_order(patch: Patch) -> None:
    right = PixelConfig.normalize
    patch.setattr(
        PixelConfig,
        "normalize",
        lambda self, pixels: right(replace(self, mean=self.mean[::-1], std=self.std[::-1]), pixels),
    )


def torchvisions_filter(patch: Patch) -> None:
    def resize(image: Tensor, instances: Instances, size: tuple[int, int]) -> tuple[Tensor, Instances]:
        return TF.resize(image, list(size), antialias=True), instances

    patch.setattr(unlabelled, "resize", resize)


def rounded_sizes(patch: Patch) -> None:
    right = PixelConfig.target_size

    def target_size(self: PixelConfig, size: tuple[int, int], short_side: int | None = None) -> tuple[int, int]:
        height, width = right(self, size, short_side)
        return height, width + 1  # 88.53 is cut to 88, not rounded to 89

    patch.setattr(PixelConfig, "target_size", target_size)


def final_full_stop(patch: Patch) -> None:
    right = PromptComposer._compose

    def compose(self: PromptComposer, labels: list[int]) -> Prompt:
        return replace(right(self, labels), text=right(self, labels).text + ".")

    patch.setattr(PromptComposer, "_compose", compose)


def padded_prompts(patch: Patch) -> None:
    """Prompts are as long as their tokens where nobody asks for more; the released ones have 256."""
    right = prompts.collate_side_by_side
    patch.setattr(prompts, "collate_side_by_side", lambda rows, tokens, step=32: right(rows, tokens, 32))


def text_padding_unmasked(patch: Patch) -> None:
    padded_prompts(patch)
    for place in (fusion, cross_attention):
        patch.setattr(place, "over_tokens", lambda scores, token_mask: scores.softmax(dim=-1))


def text_padding_read_by_the_encoder(patch: Patch) -> None:
    padded_prompts(patch)
    right = TextEncoder.forward

    def forward(self: TextEncoder, text: TextBatch) -> Tensor:
        return right(self, replace(text, token_mask=torch.ones_like(text.token_mask)))

    patch.setattr(TextEncoder, "forward", forward)


def boxes_left_in_the_resized_picture(patch: Patch) -> None:
    patch.setattr(box_arithmetic, "scale_boxes", lambda boxes, from_size, to_size: boxes)


@pytest.mark.parametrize(
    ("broken", "shows"),
    [
        (red_first, "photo.input_sample"),
        (means_of_the_other_order, "photo.input_sample"),
        (torchvisions_filter, "photo.input_sample"),
        (rounded_sizes, "photo.resized_shape"),
        (final_full_stop, "photo.input_ids"),
        (text_padding_unmasked, "scores"),
        (text_padding_read_by_the_encoder, "scores"),
        (boxes_left_in_the_resized_picture, "boxes"),
        (exclusive("leaving"), "boxes"),
    ],
)
def test_a_trap_around_the_model_shows_in_the_photo_case(
    small: DetectionTask, monkeypatch: Patch, tmp_path: Path, broken: Break, shows: str
) -> None:
    monkeypatch.setattr(parity_case, "EVERY_PIXEL", 7)
    photo = recorded_photo(small, tmp_path)
    broken(monkeypatch)
    assert shows in beyond(parity.photo_rows(small, photo, tmp_path / "noise.png", tokenizer(), TOLERANCE))
