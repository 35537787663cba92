"""Claims about telling what a weights file is."""

from __future__ import annotations

import pytest

from glipv2.models.kinds import BERT, GLIP, MMDET, OWN, SWIN, TIMM_SWIN, UNKNOWN, Kind, kind_of


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["rpn.head.dyhead_tower.0.DyConv.0.conv.weight", "backbone.body.norm1.weight"], GLIP),
        (["module.rpn.head.dot_product_projection_text.weight"], GLIP),
        (["backbone.stages.0.blocks.0.norm1.weight", "bbox_head.head.dyhead_tower.2.offset.weight"], MMDET),
        (["core.text.model.encoder.layer.0.attention.self.query.weight"], OWN),
        (["patch_embed.proj.weight", "layers.0.downsample.reduction.weight", "layers.0.blocks.0.attn.qkv.bias"], SWIN),
        (["layers.1.downsample.reduction.weight", "layers.0.blocks.0.attn.qkv.weight"], TIMM_SWIN),
        (["layers_0.blocks.0.attn.qkv.weight"], TIMM_SWIN),
        (["bert.encoder.layer.0.attention.self.query.weight", "cls.predictions.bias"], BERT),
        (["encoder.layer.11.attention.self.key.bias"], BERT),
        (["conv1.weight", "fc.bias"], UNKNOWN),
        ([], UNKNOWN),
    ],
)
def test_a_file_is_told_by_the_names_of_its_tensors(names: list[str], kind: Kind) -> None:
    assert kind_of(names) == kind
