"""Claims about mmdetection's GLIP files: they hold the same numbers under other names and in another order."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from glipv2.errors import UserError
from glipv2.models.mmdet import released_order
from glipv2.models.released import translate

RULES = (  # what mmdetection's converter does to the released names
    (r"^backbone\.fpn\.fpn_inner(\d)", lambda m: f"neck.lateral_convs.{int(m[1]) - 2}.conv"),
    (r"^backbone\.fpn\.fpn_layer(\d)", lambda m: f"neck.fpn_convs.{int(m[1]) - 2}.conv"),
    (r"^backbone\.fpn\.top_blocks\.p(\d)", lambda m: f"neck.fpn_convs.{int(m[1]) - 3}.conv"),
    (r"^backbone\.body\.", "backbone."),
    (r"^backbone\.layers\.", "backbone.stages."),
    (r"^backbone\.patch_embed\.proj\.", "backbone.patch_embed.projection."),
    (r"^(backbone\.stages.*)\.attn\.", r"\1.attn.w_msa."),
    (r"^(backbone\.stages.*)\.mlp\.fc1\.", r"\1.ffn.layers.0.0."),
    (r"^(backbone\.stages.*)\.mlp\.fc2\.", r"\1.ffn.layers.1."),
    (r"^language_backbone\.", "language_model.language_backbone."),
    (r"^rpn\.", "bbox_head."),
)
LATER = ((r"\.DyConv\.", ".dyconvs."), (r"\.AttnConv\.", ".attnconv."))  # since its newer converter


def unfolded(value: Tensor) -> Tensor:
    """Inputs of patch merging [..., 4C] from the released order to that of `nn.Unfold`."""
    parts: Tensor = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return parts.transpose(-1, -2).flatten(-2)


def as_mmdetection(tensors: dict[str, Tensor], newer: bool) -> dict[str, Tensor]:
    """A released state as mmdetection keeps it."""
    found = {}
    for name, value in tensors.items():
        other = name
        for pattern, new in (*RULES, *(LATER if newer else ())):
            other = re.sub(pattern, new, other)
        found[other] = unfolded(value) if "downsample" in name else value
    return found


@pytest.mark.parametrize("newer", [True, False], ids=["newer names", "older names"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_mmdetections_spelling_gives_the_same_tensors(cut_glip: Any, newer: bool, prefix: str) -> None:
    released = cut_glip.tensors()
    theirs = {prefix + name: value for name, value in as_mmdetection(released, newer).items()}
    assert ("bbox_head.head.dyhead_tower.2.dyconvs.0.conv.weight" in as_mmdetection(released, newer)) == newer
    own, found = translate(released), translate(theirs)
    assert found.preset == own.preset
    assert found.tensors.keys() == own.tensors.keys()
    assert all(torch.equal(value, own.tensors[name]) for name, value in found.tensors.items())
    assert all(name in theirs for name in found.unused)
    assert len(found.unused) == len(own.unused)


def test_every_full_size_name_has_a_spelling_and_comes_back(glip_sizes: dict[str, Any]) -> None:
    for preset, sizes in glip_sizes.items():
        empty = {name: torch.empty(shape, device="meta") for name, shape in sizes.keys().items()}
        found = translate(as_mmdetection(empty, newer=True))
        assert found.preset == preset
        assert {name: value.shape for name, value in found.tensors.items()} == {
            name: value.shape for name, value in translate(empty).tensors.items()
        }


def test_scales_without_a_dimension_are_taken(cut_glip: Any) -> None:
    theirs = as_mmdetection(cut_glip.tensors(), newer=True)
    for level in range(5):
        theirs[f"bbox_head.head.scales.{level}.scale"] = torch.tensor(float(level))
    assert translate(theirs).tensors["regions.level_scales"].tolist() == [0, 1, 2, 3, 4]


def test_both_spellings_of_one_tensor_are_refused(cut_glip: Any) -> None:
    theirs = {**as_mmdetection(cut_glip.tensors(), True), **as_mmdetection(cut_glip.tensors(), False)}
    with pytest.raises(UserError, match="which are the same; remove one"):
        translate(theirs)


def test_merging_by_unfold_with_their_order_is_merging_by_slices_with_the_released_one() -> None:
    torch.manual_seed(0)
    channels = 3
    maps = torch.randn(1, channels, 4, 6)
    reduction, norm = torch.randn(5, 4 * channels), torch.randn(4 * channels)
    rows = maps.permute(0, 2, 3, 1)
    slices = [rows[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
    released = F.linear(F.layer_norm(torch.cat(slices, -1).flatten(1, 2), (4 * channels,), norm), reduction)
    patches = F.unfold(maps, 2, stride=2).transpose(1, 2)
    theirs = F.linear(F.layer_norm(patches, (4 * channels,), unfolded(norm)), unfolded(reduction))
    assert_close(theirs, released)
    place = "backbone.body.layers.0.downsample."
    assert torch.equal(released_order(f"{place}reduction.weight", unfolded(reduction)), reduction)
    assert torch.equal(released_order(f"{place}norm.weight", unfolded(norm)), norm)
