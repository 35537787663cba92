"""Claims about gradient checkpointing: the same gradients from less memory."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.models import ModelConfig
from glipv2.models.core import Core
from glipv2.models.recompute import PARTS, Recomputed, blocks_of, recompute_blocks, refuse_norms
from glipv2.structures import TextBatch


def built(config: ModelConfig) -> Core:
    """A seeded core with dropout in its tower, in training mode."""
    torch.manual_seed(0)
    config.fusion.dropout = 0.2
    return config.build_core().train()


def stepped(core: Core) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Gradients and buffers after one backward pass, and the bytes of what was kept for it."""
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        if value.grad_fn is not None:
            kept[value.data_ptr()] = value.untyped_storage().nbytes()
        return value

    torch.manual_seed(1)
    pixels = torch.rand(2, 3, 64, 96)
    text = TextBatch(torch.randint(5, 90, (2, 12)), torch.ones(2, 12, dtype=torch.bool))
    torch.manual_seed(2)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        fused = core.fuse(core.image(pixels), text)
        total = sum(level.square().mean() for level in fused.after.levels) + fused.after.tokens.square().mean()
    total.backward()  # type: ignore[union-attr]
    gradients = {name: value.grad.clone() for name, value in core.named_parameters() if value.grad is not None}
    return gradients, {name: value.clone() for name, value in core.named_buffers()}, sum(kept.values())


@pytest.mark.parametrize("parts", [*((part,) for part in PARTS), PARTS])
def test_recomputed_blocks_give_the_same_gradients_and_statistics_from_less_memory(
    model_config: ModelConfig, parts: tuple[str, ...]
) -> None:
    plain, light = built(model_config), built(model_config)
    assert recompute_blocks(light, parts) > 0
    assert list(light.state_dict()) == list(plain.state_dict())
    gradients, buffers, kept = stepped(plain)
    found, found_buffers, found_kept = stepped(light)
    assert gradients.keys() == found.keys()
    torch.testing.assert_close(found, gradients, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found_buffers, buffers, rtol=0, atol=0)
    assert found_kept < kept


def test_blocks_are_the_layers_of_encoders_and_tower(
    model_config: ModelConfig, preset: Callable[[str], ModelConfig]
) -> None:
    with torch.device("meta"):
        core = preset("glip_t").build_core()
    names = [type(block).__name__ for block in blocks_of(core.image)]
    assert names == ["PadThenShiftBlock"] * 12
    assert [type(block).__name__ for block in blocks_of(core.text)] == ["BertLayer"] * 12
    assert [type(block).__name__ for block in blocks_of(core.fusion)] == ["FusionLayer"] * 6
    assert {type(block).__name__ for block in blocks_of(built(model_config).image)} == {"BasicBlock"}


def test_a_copy_recomputes_with_its_own_weights(model_config: ModelConfig) -> None:
    core = built(model_config)
    recompute_blocks(core, PARTS)
    other = copy.deepcopy(core)
    (block,) = list(blocks_of(other.fusion))[:1]
    assert isinstance(block.forward, Recomputed)
    assert block.forward.block is block


def test_an_unknown_part_comes_with_the_nearest(model_config: ModelConfig) -> None:
    with pytest.raises(UserError, match=r"trainer\.grad_checkpointing: no part 'fusoin'; did you mean 'fusion'"):
        recompute_blocks(built(model_config), ["fusoin"])


def test_compiled_blocks_with_batch_norms_are_not_recomputed(model_config: ModelConfig) -> None:
    core = built(model_config)
    refuse_norms(core, ["text", "fusion"])
    with pytest.raises(UserError, match=r"grad_checkpointing of image, whose blocks hold batch norms"):
        refuse_norms(core, PARTS)
