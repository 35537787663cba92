"""mmdetection's spelling of GLIP checkpoints, led back to the released one.

Its converter (tools/model_converters/glip_to_mmdet.py) renames the released tensors and reorders
Swin's patch merging: there the four neighbours are unfolded channel by channel, in row order.
"""

from __future__ import annotations

import re

from torch import Tensor

SIGN = "bbox_head.head."
NEIGHBOURS = [0, 2, 1, 3]  # row order <-> the released column order; its own inverse
PARTS = (  # tried in this order, each at most once
    (r"backbone\.patch_embed\.projection\.", "backbone.body.patch_embed.proj."),
    (r"backbone\.stages\.", "backbone.body.layers."),
    (r"backbone\.", "backbone.body."),
    (r"language_model\.language_backbone\.", "language_backbone."),
    (r"bbox_head\.", "rpn."),
)
INSIDE = ((".attn.w_msa.", ".attn."), (".ffn.layers.0.0.", ".mlp.fc1."), (".ffn.layers.1.", ".mlp.fc2."))
TOWER = ((".dyconvs.", ".DyConv."), (".attnconv.", ".AttnConv."))  # an older converter kept the released spelling
NECK = {
    **{f"neck.lateral_convs.{level}.conv": f"backbone.fpn.fpn_inner{level + 2}" for level in range(3)},
    **{f"neck.fpn_convs.{level}.conv": f"backbone.fpn.fpn_layer{level + 2}" for level in range(3)},
    **{f"neck.fpn_convs.{level + 3}.conv": f"backbone.fpn.top_blocks.p{level + 6}" for level in range(2)},
}


def released_name(name: str) -> str:
    """mmdetection's name of a tensor as the released one; a name it does not have stays."""
    module, _, leaf = name.rpartition(".")
    if module in NECK:
        return f"{NECK[module]}.{leaf}"
    for start, new in PARTS:
        if re.match(start, name):
            name = re.sub(f"^{start}", new, name)
            break
    for old, new in INSIDE if name.startswith("backbone.body.") else TOWER:
        name = name.replace(old, new)
    return name


def released_order(name: str, value: Tensor) -> Tensor:
    """A tensor of Swin's patch merging, [4C] or [2C, 4C], with its inputs in the released order; others as they are."""
    if ".downsample." not in name or value.shape[-1] % 4:
        return value
    by_channel = value.unflatten(-1, (-1, 4))  # [..., C, 4]
    ordered: Tensor = by_channel[..., NEIGHBOURS].transpose(-1, -2).flatten(-2)
    return ordered
