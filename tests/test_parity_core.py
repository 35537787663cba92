"""Claims about the core: on the same weights it gives the released GLIP's numbers."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.checkpoints import released_model
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.released import translate
from glipv2.structures import ImageBatch, RegionOutputs, TextBatch
from glipv2.tasks.detection import DetectionConfig, DetectionTask

Offline = Callable[[ModelConfig], ModelConfig]
PRESETS = {"t": "glip_t", "a": "glip_t_a", "l": "glip_l"}


@pytest.mark.parametrize("which", ["t", "a", "l"])
def test_every_released_tensor_has_its_place_and_its_shape(shared: Path, offline: Offline, which: str) -> None:
    keys = json.loads((shared / "parity" / f"glip_{which}_keys.json").read_text())
    with torch.device("meta"):
        released = translate({name: torch.empty(shape) for name, shape in keys.items()})
        task = DetectionConfig().build(offline(released_model(PRESETS[which])), LossConfig.grounding_only())
    assert released.preset == PRESETS[which]
    ours = {name: value.shape for name, value in task.state_dict().items()}
    assert {name: value.shape for name, value in released.tensors.items()} == ours


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


def filled(model: ModelConfig, maker: ModuleType, keys: Path) -> DetectionTask:
    """A detector in float64 on the case's weights."""
    task = DetectionConfig().build(model, LossConfig.grounding_only()).double()
    released = {name: torch.from_numpy(np.asarray(value)) for name, value in maker.state_dict(keys).items()}
    task.load_state_dict(translate(released).tensors, strict=True)
    return task.eval()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["t", "a"])
def test_the_forward_pass_is_the_released_codes(shared: Path, offline: Offline, maker: ModuleType, which: str) -> None:
    case = np.load(shared / "parity" / f"glip_{which}_small.npz")
    task = filled(offline(released_model(PRESETS[which])), maker, shared / "parity" / f"glip_{which}_keys.json")
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
