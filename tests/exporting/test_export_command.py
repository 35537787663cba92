"""Claims about exported models: their names change, and they find what the weights find."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

import glipv2
from glipv2.checkpoints import WEIGHTS_FILE, record_of, save_weights
from glipv2.exporting import writing
from glipv2.exporting.session import ExportedDetector, OnnxDetector, ProgramDetector
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.structures import Vocabulary
from glipv2.tasks.detection import DetectionConfig

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture
def weights(model_config: ModelConfig, tmp_path: Path) -> Path:
    """Of a tiny detector that finds something everywhere."""
    torch.manual_seed(0)
    plain = replace(
        model_config,
        fusion=replace(model_config.fusion, deformable=False, layers=1),
        image=replace(model_config.image, levels=3),
    )
    task = DetectionConfig().build(plain, LossConfig.grounding_only()).eval()
    (tmp_path / "old").mkdir()
    task.config.selection.min_probability = 0.0
    record = record_of(task.model_config, task.config, Vocabulary(("red circle", "dog")))
    save_weights(tmp_path / "old" / WEIGHTS_FILE, task.state_dict(), record)
    return tmp_path / "old"


@pytest.mark.slow
def test_an_export_finds_what_its_weights_find_for_any_names(
    weights: Path, tmp_path: Path, glipv2: Callable[..., Any]
) -> None:
    words = ("export", f"weights={weights}", "-o", "out", "--names", "a cup. a dog.", "--torch")
    ended = glipv2(tmp_path, *words)
    assert ended.code == 0, ended.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".data") == [
        "detector.onnx", "detector.pt2", "detector_fixed.onnx", "model.json", "parity.json", "text.onnx", "text.pt2",
    ]  # fmt: skip
    parity = json.loads((tmp_path / "out/parity.json").read_text())
    compared = Counter(row["graph"] for row in parity["rows"])
    assert compared == {"onnxruntime": 6, "torch.export": 6, "onnxruntime, fixed names": 2}
    assert max(max(row["boxes"], row["scores"]) for row in parity["rows"]) <= 1e-4
    assert {row["names"] for row in parity["rows"]} == {2, 1, 4}
    for kind in (OnnxDetector, ProgramDetector):
        _same_findings(weights, kind.load(tmp_path / "out"))


def _same_findings(weights: Path, exported: ExportedDetector) -> None:
    torch.manual_seed(0)
    photos = [torch.randint(0, 255, (3, *size), dtype=torch.uint8) for size in ((64, 64), (50, 90))]
    pictures = [Image.fromarray(photo.permute(1, 2, 0).numpy()) for photo in photos]
    model = glipv2.load(weights, "cpu")
    for names in (["dog"], ["red circle", "a dog on a red mat", "cup"], None):
        for own, other in zip(model.detect(pictures, names), exported.detect(pictures, names), strict=True):
            assert own.names == other.names
            assert_close(own.scores, other.scores, atol=1e-4, rtol=0)
            assert_close(own.boxes / 90, other.boxes / 90, atol=1e-4, rtol=0)


def test_an_export_that_fails_leaves_nothing(
    weights: Path, tmp_path: Path, glipv2: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("the exporter gave up")

    monkeypatch.setattr(writing, "_write", fails)
    with pytest.raises(RuntimeError):
        writing.export(str(weights), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_words_that_are_not_weights_are_refused(tmp_path: Path, glipv2: Callable[..., Any]) -> None:
    ended = glipv2(tmp_path, "export", "run", "-o", "out")
    assert ended.code == 2
    assert "expected weights=FILE" in ended.err
