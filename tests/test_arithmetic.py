"""Claims about switches of inference: they change time, and nothing else beyond what they say."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from glipv2.arithmetic import Arithmetic, told_as_compiling
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.models.heads.selection import phrase_probabilities
from glipv2.structures import Detections, Vocabulary
from glipv2.tasks.detection import DetectionTask

NAMES = ["red circle", "blue square"]


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8))


def found(task: DetectionTask, picture: Image.Image, arithmetic: Arithmetic) -> Detections:
    """What an untrained detector that finds much finds."""
    own = copy.deepcopy(task)
    with torch.no_grad():
        own.regions.prior_bias.fill_(0)
    own.vocabulary = Vocabulary(("star",))
    return Predictor(own, "cpu", arithmetic).detect(picture, NAMES)


def test_the_order_of_memory_changes_no_box(task: DetectionTask, picture: Image.Image) -> None:
    arithmetic = Arithmetic(channels_last=True)
    plain, switched = found(task, picture, Arithmetic()), found(task, picture, arithmetic)
    assert len(plain) > 0
    assert switched.names == plain.names
    assert_close(switched.boxes, plain.boxes, atol=1e-3, rtol=1e-4)
    assert_close(switched.scores, plain.scores, atol=1e-5, rtol=1e-4)


def test_bfloat16_moves_probabilities_by_less_than_two_hundredths(task: DetectionTask, picture: Image.Image) -> None:
    predictor = Predictor(task, "cpu", Arithmetic())
    seen: list[torch.Tensor] = []
    task.regions.register_forward_hook(lambda module, given, outputs: seen.append(outputs.alignment_logits[0]))
    predictor.detect(picture, NAMES)
    predictor.arithmetic = Arithmetic("bf16")
    predictor.detect(picture, NAMES)
    every = torch.ones(1, seen[0].shape[1], dtype=torch.bool)
    plain, halved = (phrase_probabilities(logits, every) for logits in seen)
    difference = (plain - halved).abs().max()
    assert 0 < difference < 0.02
    assert seen[1].dtype == torch.float32  # the region head computes in its own precision


def test_auto_is_what_the_hardware_multiplies_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, wanted in (("bf16-mixed", True), ("32-true", False)):
        monkeypatch.setattr("glipv2.arithmetic.resolved_precision", lambda *_, native=native: native)
        with Arithmetic("auto").on(torch.device("cpu")):
            assert torch.is_autocast_enabled("cpu") == wanted


def test_what_does_not_exist_is_refused_before_weights_are_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="precision: no 'fp16'; "):
        Predictor.load(tmp_path / "none", precision="fp16")
    with pytest.raises(UserError, match="compile: no backend 'inducto'; did you mean 'inductor'"):
        Predictor.load(tmp_path / "none", compile="inducto")


def test_a_compiler_that_fails_is_told_in_a_line() -> None:
    failure = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})
    with (
        pytest.raises(UserError, match="compile=inductor: no compiler; leave compile= out"),
        told_as_compiling("inductor"),
    ):
        raise failure("no\n compiler")
    with pytest.raises(RuntimeError, match="out of memory"), told_as_compiling("inductor"):
        raise RuntimeError("out of memory")
