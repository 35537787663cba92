"""Released GLIP checkpoints: which architecture one holds, and where each of its tensors belongs here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.models import mmdet

ARCHITECTURES = ("glip_t", "glip_t_a", "glip_l")  # presets of the `model` group
TITLES = dict(zip(ARCHITECTURES, ("GLIP-T", "GLIP-T (A)", "GLIP-L"), strict=True))
KNOWN = {(96, True): "glip_t", (96, False): "glip_t_a", (192, True): "glip_l"}  # by backbone width and fusion
PREFIX = "module."  # left by the distributed training that wrote the files
BACKBONES = {96: "Swin-T", 192: "Swin-L"}  # by the channels of the patch embedding
DERIVED = ("relative_position_index", "attn_mask", "position_ids", "anchor_generator", "cls_logits")  # not weights
SCALARS = ("regions.log_scale", "regions.prior_bias")  # of shape [1] in the files

BODY = "backbone.body."
TEXT = "language_backbone.body.model."
TOWER = "rpn.head.dyhead_tower."
SCALE = re.compile(r"rpn\.head\.scales\.(\d+)\.scale")
LAYER = {  # parts of the tower; a layer is three entries of it (with fusion) or one
    "b_attn.gamma_v": "cross.image_scale",
    "b_attn.gamma_l": "cross.text_scale",
    "b_attn.layer_norm_v": "cross.image_norm",
    "b_attn.layer_norm_l": "cross.text_norm",
    "b_attn.attn.v_proj": "cross.image_query",
    "b_attn.attn.l_proj": "cross.text_key",
    "b_attn.attn.values_v_proj": "cross.image_value",
    "b_attn.attn.values_l_proj": "cross.text_value",
    "b_attn.attn.out_v_proj": "cross.image_out",
    "b_attn.attn.out_l_proj": "cross.text_out",
    "attention.self.query": "text.query",
    "attention.self.key": "text.key",
    "attention.self.value": "text.value",
    "attention.output.dense": "text.out",
    "attention.output.LayerNorm": "text.attention_norm",
    "intermediate.dense": "text.expand",
    "output.dense": "text.contract",
    "output.LayerNorm": "text.output_norm",
    "DyConv.0.conv": "image.from_coarser",
    "DyConv.0.bn": "image.from_coarser.norm",
    "DyConv.1.conv": "image.from_same",
    "DyConv.1.bn": "image.from_same.norm",
    "DyConv.2.conv": "image.from_finer",
    "DyConv.2.bn": "image.from_finer.norm",
    "AttnConv.1": "image.scale_attention",
    "relu.fc.0": "image.relu.squeeze",
    "relu.fc.2": "image.relu.excite",
    "offset": "image.offset",
}
PARTS = {  # everything else that stands under a fixed name
    **{f"{BODY}norm{level + 1}": f"core.image.output_norms.{level}" for level in range(3)},
    **{f"backbone.fpn.fpn_inner{level + 2}": f"core.image.pyramid.lateral.{level}" for level in range(3)},
    **{f"backbone.fpn.fpn_layer{level + 2}": f"core.image.pyramid.output.{level}" for level in range(3)},
    **{f"backbone.fpn.top_blocks.p{level + 6}": f"core.image.pyramid.extra.{level}" for level in range(2)},
    "rpn.head.dot_product_projection_text": "regions.words",
    "rpn.head.bias_lang": "regions.word_bias",
    "rpn.head.bias0": "regions.prior_bias",
    "rpn.head.bbox_pred": "regions.box_deltas",
    "rpn.head.centerness": "regions.centerness",
    "rpn.head.log_scale": "regions.log_scale",
}


@dataclass(frozen=True)
class Translation:
    """A released checkpoint in this project's names and shapes.

    preset: of the `model` group; unused: released names that hold nothing of ours.
    """

    preset: str
    tensors: dict[str, Tensor]
    unused: tuple[str, ...]


def translate(tensors: Mapping[str, Tensor]) -> Translation:
    """Released tensors, with or without `module.` or in mmdetection's spelling, in our names and shapes.

    UserError when they are not those of a released GLIP; what is missing is left to the caller.
    """
    names = released_names(tensors)
    released = {names[name]: value for name, value in tensors.items()}
    if any(plain(name).startswith(mmdet.SIGN) for name in tensors):
        released = {name: mmdet.released_order(name, value) for name, value in released.items()}
    preset = architecture(released)
    places = {name: our_name(name, preset != "glip_t_a") for name in released}
    ours = {place: _in_our_shape(place, released[name]) for name, place in places.items() if place}
    scales = {int(match[1]): value for name, value in released.items() if (match := SCALE.fullmatch(name))}
    if scales:
        ours["regions.level_scales"] = torch.cat([scales[level].reshape(-1) for level in sorted(scales)])
    unused = (name for name, other in names.items() if not places[other] and not SCALE.fullmatch(other))
    return Translation(preset, ours, tuple(unused))


def released_names(tensors: Iterable[str]) -> dict[str, str]:
    """The file's names of tensors -> the released ones; UserError when two become one."""
    own = list(tensors)
    foreign = any(plain(name).startswith(mmdet.SIGN) for name in own)
    names = {name: mmdet.released_name(plain(name)) if foreign else plain(name) for name in own}
    first: dict[str, str] = {}
    for name, other in names.items():
        if first.setdefault(other, name) != name:
            raise UserError(f"the file holds both '{first[other]}' and '{name}', which are the same; remove one")
    return names


def plain(name: str) -> str:
    """A name without what distributed training puts before it."""
    return name.removeprefix(PREFIX)


def _in_our_shape(place: str, value: Tensor) -> Tensor:
    return value.reshape(()) if place in SCALARS and value.numel() == 1 else value


def architecture(tensors: Mapping[str, Tensor]) -> str:
    """The preset whose tensors these are, told by the backbone's width and the cross-attention."""
    width = _backbone_width(tensors)
    head = any(name.startswith(TOWER) for name in tensors)
    fused = any(name.startswith(TOWER) and ".b_attn." in name for name in tensors)
    if head and (width, fused) in KNOWN:
        return KNOWN[width, fused]
    found = [
        f"{BACKBONES.get(width, f'a Swin of width {width}')}" if width else "no Swin backbone under backbone.body",
        f"a tower {'with' if fused else 'without'} cross-attention" if head else f"no {TOWER.removesuffix('.')}",
    ]
    raise UserError(
        "expected the tensors of a released GLIP-T, GLIP-T (A) or GLIP-L, "
        f"but found {' and '.join(found)} among {len(tensors)} tensors (the first: {', '.join(list(tensors)[:3])})"
    )


def _backbone_width(tensors: Mapping[str, Tensor]) -> int:
    """Channels of the first Swin stage; 0 when there is none."""
    for name in ("patch_embed.proj.weight", "patch_embed.norm.weight", "layers.0.blocks.0.norm1.weight"):
        if BODY + name in tensors:
            return int(tensors[BODY + name].shape[0])
    return 0


def our_name(released: str, fused: bool) -> str | None:
    """Where a released tensor belongs; None when it holds nothing of ours or only a part (a level's scale)."""
    if any(part in released for part in DERIVED):
        return None
    if tower := re.fullmatch(re.escape(TOWER) + r"(\d+)\.(.*)", released):
        place = _within(LAYER, tower[2])
        return place and f"core.fusion.layers.{int(tower[1]) // (3 if fused else 1)}.{place}"
    if place := _within(PARTS, released):
        return place
    if released.startswith(TEXT):
        return f"core.text.model.{released.removeprefix(TEXT)}"
    if released.startswith(BODY):
        return f"core.image.backbone.{timm_swin_name(released.removeprefix(BODY))}"
    return None


def timm_swin_name(name: str) -> str:
    """Official Swin's name of a tensor as timm's: stages are `layers_i`, and merging opens a stage there."""
    if stage := re.fullmatch(r"layers\.(\d+)\.(.*)", name):
        later = int(stage[2].startswith("downsample."))
        return f"layers_{int(stage[1]) + later}.{stage[2]}"
    return name


def _within(places: Mapping[str, str], name: str) -> str | None:
    """The place of a parameter, or of the module it belongs to."""
    module, _, leaf = name.rpartition(".")
    if name in places:
        return places[name]
    return f"{places[module]}.{leaf}" if module in places else None
