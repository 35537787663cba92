"""Claims about the graphs that are exported, before any exporter sees them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.testing import assert_close
from torchvision.ops import deform_conv2d

from glipv2.errors import UserError
from glipv2.exporting.graphs import DetectorGraph, TextGraph, plain_operations, sampled_convolution
from glipv2.exporting.parity import ParityRow, vocabularies_for
from glipv2.exporting.session import ExportedGraphs, OnnxDetector, level_sizes
from glipv2.exporting.writing import export, refuse_drift
from glipv2.models.image import ImageEncoderConfig
from glipv2.models.swin import PadThenShiftBlock
from glipv2.remembering import MOST
from glipv2.structures import ImageBatch, TextBatch, Vocabulary
from glipv2.tasks.detection import DetectionTask


@pytest.mark.parametrize("stride", [1, 2])
def test_sampling_convolves_as_torchvision_does_past_the_border_too(stride: int) -> None:
    torch.manual_seed(0)
    level, weight, bias = torch.randn(2, 4, 9, 7), torch.randn(6, 4, 3, 3), torch.randn(6)
    size = (-(-9 // stride), -(-7 // stride))
    offsets, mask = 4 * torch.randn(2, 18, *size), torch.rand(2, 9, *size)
    expected = deform_conv2d(level, offsets, weight, bias, stride=stride, padding=1, mask=mask)
    assert_close(sampled_convolution(level, offsets, mask, weight, bias, stride), expected, atol=1e-4, rtol=1e-4)
    unmasked = deform_conv2d(level, offsets, weight, None, stride=stride, padding=1)
    assert_close(sampled_convolution(level, offsets, None, weight, None, stride), unmasked, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_two_graphs_give_what_the_task_gives_and_leave_it_as_it_was(task: DetectionTask) -> None:
    torch.manual_seed(0)
    images = ImageBatch(torch.randn(2, 3, 64, 96), torch.tensor([[64, 96]] * 2))
    ids = torch.randint(5, 500, (2, 9))
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    text = TextBatch(ids, mask)
    expected = task.regions(task.core(images, text).after)
    with plain_operations(task):
        tokens = TextGraph(task.core)(ids, mask)
        found = DetectorGraph(task.core, task.regions)(images.pixels, tokens, mask)
    for value, name in zip(found, ("alignment_logits", "box_deltas", "centerness"), strict=True):
        own, other = value, getattr(expected, name)
        if name == "alignment_logits":
            own, other = own.transpose(1, 2)[mask], other.transpose(1, 2)[mask]
        assert_close(own, other, atol=2e-5, rtol=1e-4)
    again = task.regions(task.core(images, text).after)
    assert torch.equal(again.box_deltas, expected.box_deltas)


def test_levels_are_halved_and_rounded_up(task: DetectionTask) -> None:
    assert level_sizes((96, 160), task.model_config) == [(12, 20), (6, 10), (3, 5), (2, 3)]


def test_graphs_that_drift_are_refused_and_so_are_those_that_give_no_number() -> None:
    good, bad = ParityRow("onnxruntime", 1, 1, 64, 64, 1e-6, 2e-5), ParityRow("onnxruntime", 4, 2, 96, 64, 3e-4, 1e-6)
    refuse_drift([good], 1e-4)
    with pytest.raises(UserError, match=r"by 3\.0e-04 \(onnxruntime, 96 x 64, batch 2, 4 names\)"):
        refuse_drift([good, bad], 1e-4)
    with pytest.raises(UserError, match="nothing was written"):
        refuse_drift([good, ParityRow("onnxruntime", 1, 1, 64, 64, math.nan, math.nan)], 1e-4)


def test_three_vocabularies_are_compared() -> None:
    assert [len(own.names) for own in vocabularies_for(Vocabulary(("cup", "dog")))] == [2, 1, 4]


def test_a_folder_that_is_not_empty_or_no_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not empty"):
        export("missing", tmp_path)
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match=r"text\.onnx is missing"):
        OnnxDetector.load(tmp_path)


@torch.no_grad()
def test_traced_windows_of_a_swin_keep_batch_and_sides_open() -> None:
    torch.manual_seed(0)
    options = {"embed_dim": 24, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 3, 4], "strict_img_size": False,
               "always_partition": True}  # fmt: skip
    swin = ImageEncoderConfig("swin_tiny_patch4_window7_224", options, pad_then_shift=True, width=32).build().eval()
    plain, shifted = [module for module in swin.modules() if isinstance(module, PadThenShiftBlock)][:2]
    assert not any(plain.shift_size) and all(shifted.shift_size)
    blocks = nn.Sequential(plain, shifted)
    rows, columns = (8 * Dim(name) for name in ("rows", "columns"))
    shapes = ({0: Dim.DYNAMIC, 1: rows, 2: columns},)
    program = torch.export.export(blocks, (torch.zeros(2, 32, 40, 24),), dynamic_shapes=shapes, strict=False)
    recorded = program.module(check_guards=False)  # as our sessions open it, see docs/export.md
    for size in ((3, 24, 32), (1, 56, 56), (2, 56, 40), (1, 8, 8)):  # with and without padding
        maps = torch.randn(*size, 24)
        assert_close(recorded(maps), blocks(maps), atol=1e-5, rtol=1e-5)


def test_the_tokens_of_ever_other_prompts_are_not_kept_for_ever() -> None:
    calls: list[int] = []

    def text(ids: Tensor, mask: Tensor) -> tuple[Tensor]:
        calls.append(int(ids[0, 0]))
        return (ids.float(),)

    graphs = ExportedGraphs(text, text)
    for number in (*range(MOST + 1), MOST, 0):
        ids = torch.full((1, 4), number)
        assert graphs.tokens(TextBatch(ids, torch.ones_like(ids, dtype=torch.bool)))[0, 0] == number
    assert calls == [*range(MOST + 1), 0]  # the first had to go
