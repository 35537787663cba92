"""Claims about remembered texts: they are read once, and never when they would be wrong."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.models import Core, ModelConfig
from glipv2.models.remembered import TextMemory
from glipv2.structures import TextBatch


@pytest.fixture
def core(model_config: ModelConfig) -> Core:
    torch.manual_seed(0)
    built = model_config.build_core().eval()
    built.remembered = TextMemory()
    return built


def words(*ids: int, rows: int = 1) -> TextBatch:
    tokens = torch.tensor([[2, *ids, 3]]).expand(rows, -1)
    return TextBatch(tokens, torch.ones_like(tokens, dtype=torch.bool))


def counted(core: Core) -> list[int]:
    """The rows of every batch that the encoder reads from now on."""
    calls: list[int] = []
    core.text.register_forward_pre_hook(lambda _, given: calls.append(len(given[0].token_ids)))
    return calls


@torch.inference_mode()
def test_a_prompt_is_read_once_for_all_pictures_and_gives_the_same(core: Core) -> None:
    alone = core.text(words(10, 11))
    calls = counted(core)
    for rows in (1, 4, 2):  # many images in a batch have one prompt
        assert_close(core.read(words(10, 11, rows=rows)), alone.expand(rows, -1, -1), atol=0, rtol=0)
    assert calls == [1]
    assert not torch.equal(core.read(words(10, 12)), alone)
    assert calls == [1, 1]


@torch.inference_mode()
def test_every_row_is_remembered_by_itself(core: Core) -> None:
    short, long, other = words(10, 11), words(10, 11, 12, 13), words(14, 15)
    alone = [core.text(text) for text in (short, long, other)]
    calls = counted(core)
    core.read(TextBatch.stacked([short, long, short]))
    assert calls == [2]
    found = core.read(TextBatch.stacked([other, long, short]))
    assert calls == [2, 1]
    for row, states in zip(found, (alone[2], alone[1], alone[0]), strict=True):
        assert_close(row[: states.shape[1]], states[0], atol=1e-6, rtol=1e-5)
    assert not found[0, 4:].any()
    core.read(long)
    assert calls == [2, 1]


@torch.inference_mode()
def test_texts_side_by_side_are_not_taken_for_one_text(core: Core) -> None:
    text = words(10, 11)
    apart, other = (replace(text, segments=torch.tensor([rows])) for rows in ([0, 0, 1, 1], [0, 1, 1, 1]))
    calls = counted(core)
    assert not torch.equal(core.read(text), core.read(apart))
    assert not torch.equal(core.read(apart), core.read(other))
    assert calls == [1, 1, 1]


@torch.inference_mode()
def test_what_is_forgotten_is_freed_though_others_were_read_with_it(core: Core) -> None:
    short, long = words(10, 11), words(10, 11, 12, 13)
    size = core.text(short).nbytes
    core.remembered = TextMemory(most_bytes=size)
    core.read(TextBatch.stacked([long, short]))
    assert len(core.remembered) == 1
    again = core.read(short)  # a row that is all there is, is not copied
    assert again.untyped_storage().nbytes() == size


def test_training_is_read_anew(core: Core) -> None:
    calls = counted(core)
    for _ in range(2):
        assert core.read(words(10, 11)).requires_grad
    core.train()
    with torch.no_grad():
        core.read(words(10, 11))
    assert calls == [1, 1, 1]
    assert core.remembered is not None
    assert len(core.remembered) == 0


@torch.no_grad()
def test_other_weights_or_another_precision_are_read_anew(core: Core) -> None:
    before = core.read(words(10, 11))
    first = next(core.text.parameters())
    first.add_(1.0)
    after = core.read(words(10, 11))
    assert not torch.equal(before, after)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(core.read(words(10, 11)), after)
    assert core.double().read(words(10, 11)).dtype == torch.float64
    assert len(copy.deepcopy(core).remembered) == 0  # type: ignore[arg-type]


@torch.no_grad()
def test_no_more_is_held_than_allowed(core: Core) -> None:
    size = core.read(words(10, 11)).nbytes
    core.remembered = TextMemory(most_bytes=2 * size)
    calls = counted(core)
    asked: list[Tensor] = [core.read(words(10, last)) for last in (11, 12, 11, 13, 11)]
    assert len(core.remembered) == 2
    assert calls == [1, 1, 1]  # the one asked for again and again stays
    assert torch.equal(asked[0], asked[-1])
