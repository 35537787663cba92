"""Claims about the core: on the same weights it gives the released GLIP's numbers."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.structures import ImageBatch, RegionOutputs, TextBatch
from glipv2.tasks.detection import DetectionConfig, DetectionTask

Preset = Callable[[str], ModelConfig]
PRESETS = {"t": "glip_t", "a": "glip_t_a", "l": "glip_l"}
DERIVED = (
    "relative_position_index",
    "attn_mask",
    "position_ids",
    "anchor_generator",
    "cls_logits",
)  # hold no weight of ours

# Released name -> ours, tried in this order; what a pattern captures goes into the new name.
NAMES = (
    (r"language_backbone\.body\.model\.(.*)", r"core.text.model.\1"),
    (
        r"backbone\.body\.layers\.(\d)\.downsample\.(.*)",
        lambda m: f"core.image.backbone.layers_{int(m[1]) + 1}.downsample.{m[2]}",
    ),
    (r"backbone\.body\.layers\.(.*)", r"core.image.backbone.layers_\1"),
    (r"backbone\.body\.norm(\d)\.(.*)", lambda m: f"core.image.output_norms.{int(m[1]) - 1}.{m[2]}"),
    (r"backbone\.body\.(.*)", r"core.image.backbone.\1"),
    (r"backbone\.fpn\.fpn_inner(\d)\.(.*)", lambda m: f"core.image.pyramid.lateral.{int(m[1]) - 2}.{m[2]}"),
    (r"backbone\.fpn\.fpn_layer(\d)\.(.*)", lambda m: f"core.image.pyramid.output.{int(m[1]) - 2}.{m[2]}"),
    (r"backbone\.fpn\.top_blocks\.p(\d)\.(.*)", lambda m: f"core.image.pyramid.extra.{int(m[1]) - 6}.{m[2]}"),
    (r"rpn\.head\.dot_product_projection_text\.(.*)", r"regions.words.\1"),
    (r"rpn\.head\.bias_lang", "regions.word_bias"),
    (r"rpn\.head\.bias0", "regions.prior_bias"),
    (r"rpn\.head\.bbox_pred\.(.*)", r"regions.box_deltas.\1"),
    (r"rpn\.head\.(centerness|log_scale)(.*)", r"regions.\1\2"),
)  # fmt: skip
LAYER = {  # of the tower: cross-attention, text layer, DyConv
    "b_attn.": "", "attn.": "", "gamma_v": "image_scale", "gamma_l": "text_scale", "layer_norm_v": "image_norm",
    "layer_norm_l": "text_norm", "values_v_proj": "image_value", "values_l_proj": "text_value",
    "out_v_proj": "image_out", "out_l_proj": "text_out", "v_proj": "image_query", "l_proj": "text_key",
    "attention.self.": "", "attention.output.dense": "out", "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "expand", "output.dense": "contract", "output.LayerNorm": "output_norm",
    "DyConv.0": "from_coarser", "DyConv.1": "from_same", "DyConv.2": "from_finer", ".conv.": ".", ".bn.": ".norm.",
    "AttnConv.1": "scale_attention", "relu.fc.0": "relu.squeeze", "relu.fc.2": "relu.excite",
}  # fmt: skip


def our_name(released: str, fused: bool) -> str:
    """Where a released tensor belongs; level scales come one by one and are joined by the caller."""
    tower = re.fullmatch(r"rpn\.head\.dyhead_tower\.(\d+)\.(.*)", released)
    if tower:
        layer, part = divmod(int(tower[1]), 3) if fused else (int(tower[1]), 2)
        name = tower[2]
        for old, new in LAYER.items():
            if not (part == 1 and old == "attn."):
                name = name.replace(old, new)
        return f"core.fusion.layers.{layer}.{('cross', 'text', 'image')[part]}.{name}"
    for pattern, new in NAMES:
        if re.fullmatch(pattern, released):
            return re.sub(pattern, new, released)
    return released


def released_model(preset: Preset, which: str) -> ModelConfig:
    """The preset with the two switches that imported weights need."""
    model = preset(PRESETS[which])
    return replace(
        model,
        fusion=replace(model.fusion, reread_offsets=True),
        regions=replace(model.regions, inclusive_boxes=True),
    )


def renamed(tensors: dict[str, Tensor], fused: bool) -> dict[str, Tensor]:
    """Released tensors under our names."""
    scales = {name: value for name, value in tensors.items() if ".scales." in name}
    kept = {
        our_name(name, fused): value
        for name, value in tensors.items()
        if name not in scales and not any(part in name for part in DERIVED)
    }
    return {**kept, "regions.level_scales": torch.cat([value.reshape(1) for value in scales.values()])}


@pytest.mark.parametrize("which", ["t", "a", "l"])
def test_every_released_tensor_has_its_place_and_its_size(shared: Path, preset: Preset, which: str) -> None:
    keys = json.loads((shared / "parity" / f"glip_{which}_keys.json").read_text())
    with torch.device("meta"):
        task = DetectionConfig().build(released_model(preset, which), LossConfig.grounding_only())
        released = renamed({name: torch.empty(shape) for name, shape in keys.items()}, which != "a")
    ours = {name: value.numel() for name, value in task.state_dict().items()}
    assert {name: value.numel() for name, value in released.items()} == ours


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The script that makes deterministic weights from parameter names."""
    path = Path(__file__).parents[2] / "shared" / "parity" / "weights.py"
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    spec = importlib.util.spec_from_file_location("parity_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def filled(model: ModelConfig, maker: ModuleType, keys: Path, fused: bool) -> DetectionTask:
    """A detector in float64 on the case's weights."""
    task = DetectionConfig().build(model, LossConfig.grounding_only()).double()
    weights = renamed({name: torch.from_numpy(np.asarray(v)) for name, v in maker.state_dict(keys).items()}, fused)
    shapes = {name: value.shape for name, value in task.state_dict().items()}
    task.load_state_dict({name: value.reshape(shapes[name]) for name, value in weights.items()}, strict=True)
    return task.eval()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["t", "a"])
def test_the_forward_pass_is_the_released_codes(shared: Path, preset: Preset, maker: ModuleType, which: str) -> None:
    case = np.load(shared / "parity" / f"glip_{which}_small.npz")
    task = filled(released_model(preset, which), maker, shared / "parity" / f"glip_{which}_keys.json", which != "a")
    sizes = torch.from_numpy(case["image_sizes"])
    pixels = torch.zeros(len(sizes), *case["padded_shape"][1:].tolist(), dtype=torch.double)
    for index, (height, width) in enumerate(sizes.tolist()):
        pixels[index, :, :height, :width] = torch.from_numpy(case[f"image.{index}"])
    ids = torch.from_numpy(case["input_ids"]).expand(len(sizes), -1)
    with torch.no_grad():
        features = task.core(ImageBatch(pixels, sizes), TextBatch(ids, torch.ones_like(ids, dtype=torch.bool)))
        outputs = task.regions(features.after)

    def check(name: str, ours: Tensor) -> None:
        theirs = torch.from_numpy(case[name]).double().reshape(ours.shape)
        assert_close(ours, theirs, atol=1e-5, rtol=1e-5, msg=lambda text: f"{name}: {text}")

    check("text_hidden", features.before.tokens)
    for level in range(5):
        check(f"fpn.{level}", features.before.levels[level].flatten()[::97])
    if which == "t":
        check("fused_text", features.after.tokens)
    last = max(int(name.split(".")[1]) for name in case.files if name.startswith("tower."))
    for level in range(5):
        check(f"tower.{last}.visual.{level}", features.after.levels[level].flatten()[::97])
    for level, part in enumerate(by_level(outputs)):
        for name, values in part.items():
            check(f"{name}.{level}", values)


def by_level(outputs: RegionOutputs) -> list[dict[str, Tensor]]:
    """Raw outputs of each level, in the layout of the case."""
    sizes = list(outputs.level_sizes)
    return [
        {"alignment_logits": logits, "box_deltas": deltas.transpose(1, 2), "centerness": centerness}
        for logits, deltas, centerness in zip(
            outputs.alignment_logits.split(sizes, 1),
            outputs.box_deltas.split(sizes, 1),
            outputs.centerness.split(sizes, 1),
            strict=True,
        )
    ]
