"""Claims about released GLIP files: which model they hold, and where each tensor goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from glipv2.checkpoints import released_model
from glipv2.config import model_preset
from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.released import ARCHITECTURES, translate
from glipv2.tasks.detection import DetectionConfig

KEYS = {"glip_t": "glip_t_keys.json", "glip_t_a": "glip_a_keys.json", "glip_l": "glip_l_keys.json"}
Sizes = dict[str, Any]
Offline = Callable[[ModelConfig], ModelConfig]


def empty(sizes: Any) -> dict[str, torch.Tensor]:
    """A file's tensors without numbers."""
    return {name: torch.empty(shape, device="meta") for name, shape in sizes.keys().items()}


@pytest.mark.parametrize("preset", ARCHITECTURES)
def test_these_tests_speak_of_the_released_names_and_shapes(shared: Path, glip_sizes: Sizes, preset: str) -> None:
    keys = json.loads((shared / "parity" / KEYS[preset]).read_text())
    assert {name: list(shape) for name, shape in glip_sizes[preset].keys().items()} == keys


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("preset", ARCHITECTURES)
def test_every_architecture_is_recognised_and_fills_its_model(
    glip_sizes: Sizes, offline: Offline, preset: str, prefix: str
) -> None:
    found = translate({prefix + name: value for name, value in empty(glip_sizes[preset]).items()})
    with torch.device("meta"):
        task = DetectionConfig().build(offline(released_model(preset)), LossConfig.grounding_only())
    assert found.preset == preset
    assert {name: value.shape for name, value in found.tensors.items()} == {
        name: value.shape for name, value in task.state_dict().items()
    }
    assert found.unused == (f"{prefix}rpn.head.cls_logits.weight", f"{prefix}rpn.head.cls_logits.bias")


def test_names_that_hold_nothing_of_ours_are_told_as_the_file_has_them(cut_glip: Any) -> None:
    tensors = {f"module.{name}": value for name, value in cut_glip.tensors().items()}
    found = translate({**tensors, "module.rpn.head.tunable_linear.weight": torch.ones(2), "extra": torch.ones(1)})
    assert set(found.unused) == {
        "module.backbone.body.layers.0.blocks.0.attn.relative_position_index",
        "module.language_backbone.body.model.embeddings.position_ids",
        "module.rpn.anchor_generator.cell_anchors.0",
        "module.rpn.head.cls_logits.weight",
        "module.rpn.head.cls_logits.bias",
        "module.rpn.head.tunable_linear.weight",
        "extra",
    }


def test_level_scales_are_joined_by_their_number_and_not_by_their_place_in_the_file(cut_glip: Any) -> None:
    tensors = cut_glip.tensors()
    scales = {name: tensors.pop(name) for name in list(tensors) if ".scales." in name}
    for level, name in enumerate(sorted(scales)):
        scales[name] = torch.tensor([float(level)])
    backwards = dict(reversed([*tensors.items(), *scales.items()]))
    assert translate(backwards).tensors["regions.level_scales"].tolist() == [0, 1, 2, 3, 4]


def test_numbers_and_types_pass_unchanged(cut_glip: Any) -> None:
    tensors = {name: value.half() for name, value in cut_glip.tensors().items()}
    found = translate(tensors).tensors
    assert torch.equal(found["regions.word_bias"], tensors["rpn.head.bias_lang"])
    assert found["regions.word_bias"].dtype == torch.float16
    merging = "backbone.body.layers.0.downsample.reduction.weight"
    assert torch.equal(found["core.image.backbone.layers_1.downsample.reduction.weight"], tensors[merging])


def test_two_names_for_one_tensor_are_refused(cut_glip: Any) -> None:
    tensors = cut_glip.tensors()
    tensors["module.rpn.head.bias0"] = torch.ones(1)
    with pytest.raises(UserError, match=r"holds both 'rpn\.head\.bias0' and 'module\.rpn\.head\.bias0'"):
        translate(tensors)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"a.weight": (2,)}, "found no Swin backbone under backbone.body and no rpn.head.dyhead_tower among 1 tensors"),
        ({"backbone.body.patch_embed.proj.weight": (96, 3, 4, 4)}, "found Swin-T and no rpn.head.dyhead_tower"),
        (
            {"backbone.body.patch_embed.norm.weight": (128,), "rpn.head.dyhead_tower.0.b_attn.gamma_v": (256,)},
            "found a Swin of width 128 and a tower with cross-attention",
        ),
        (
            {"backbone.body.patch_embed.norm.weight": (192,), "rpn.head.dyhead_tower.0.offset.bias": (27,)},
            "found Swin-L and a tower without cross-attention",
        ),
    ],
)
def test_what_is_none_of_them_is_refused_with_what_was_found(names: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(
        UserError, match="expected the tensors of a released GLIP-T, GLIP-T \\(A\\) or GLIP-L"
    ) as caught:
        translate({name: torch.empty(shape, device="meta") for name, shape in names.items()})
    assert message in str(caught.value)


@pytest.mark.parametrize("preset", ARCHITECTURES)
def test_the_model_of_released_weights_is_the_preset_with_the_released_slips(preset: str) -> None:
    usual, model = model_preset(preset), released_model(preset)
    assert (model.fusion.reread_offsets, model.regions.inclusive_boxes) == (True, True)
    assert (usual.fusion.reread_offsets, usual.regions.inclusive_boxes) == (False, False)
    assert (model.image.pretrained, model.text.pretrained) == (False, False)
    assert model.text.options["vocab_size"] == 30522
    assert model.pixels == usual.pixels
    assert model.pixels.bgr


def test_a_preset_read_alone_is_what_composition_gives(compose: Callable[[list[str]], Any]) -> None:
    for name in (*ARCHITECTURES, "nano", "small"):
        assert model_preset(name) == compose([f"model={name}"]).model
