"""Fixtures shared by all tests: small models, where the shared material lies, one thread a worker."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import hydra
import pytest
import torch
from small_models import tiny_model

from glipv2.cli import main
from glipv2.config import TrainConfig, config_folder, register_schemas, typed
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig, released
from glipv2.models.fusion import FusionConfig
from glipv2.models.heads.regions import RegionHeadConfig
from glipv2.models.image import ImageEncoderConfig
from glipv2.models.text import TextEncoderConfig
from glipv2.pixels import PixelConfig
from glipv2.tasks.detection import DetectionConfig, DetectionTask

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

torch.set_num_threads(1)  # workers of pytest-xdist would fight for the cores, and so would their processes
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, those with most of them before the others, so that no worker ends with one."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture
def shared() -> Path:
    """The folder of shared fixtures; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared fixtures (../shared) are not on this machine")
    return SHARED


@pytest.fixture
def model_config() -> ModelConfig:
    """See `small_models.tiny_model`."""
    return tiny_model()


@pytest.fixture
def task(model_config: ModelConfig) -> DetectionTask:
    """A seeded tiny detector in evaluation mode."""
    torch.manual_seed(0)
    return DetectionConfig().build(model_config, LossConfig.grounding_only()).eval()


def composed(overrides: Sequence[str]) -> TrainConfig:
    """What `glipv2 train` with these words would run with."""
    register_schemas()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        return typed(hydra.compose("train", list(overrides)), TrainConfig)


@pytest.fixture
def compose() -> Callable[[Sequence[str]], TrainConfig]:
    """See `composed`."""
    return composed


@pytest.fixture
def preset() -> Callable[[str], ModelConfig]:
    """A preset of the `model` group by name, see `ModelConfig.without_files`."""
    return lambda name: composed([f"model={name}"]).model.without_files()


@pytest.fixture
def offline() -> Callable[[ModelConfig], ModelConfig]:
    """See `ModelConfig.without_files`."""
    return ModelConfig.without_files


@dataclass(frozen=True)
class GlipSizes:
    """What decides on the shapes in a released GLIP file; the defaults are GLIP-T's."""

    embed: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    width: int = 256
    pieces: int = 30522
    text_width: int = 768
    text_layers: int = 12
    text_feedforward: int = 3072
    fusion_layers: int = 6
    fused: bool = True
    attention_width: int = 2048
    groups: int = 16

    def keys(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the file's tensors, buffers that follow from the configuration left out."""
        found: dict[str, tuple[int, ...]] = {}

        def layer(name: str, *shape: int) -> None:
            found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

        self._image(found, layer)
        width, text = self.width, self.text_width
        for name, rows in (("word", self.pieces), ("position", 512), ("token_type", 2)):
            found[f"language_backbone.body.model.embeddings.{name}_embeddings.weight"] = (rows, text)
        layer("language_backbone.body.model.embeddings.LayerNorm", text)
        for index in range(self.text_layers):
            self._text_layer(layer, f"language_backbone.body.model.encoder.layer.{index}.")
        for index in range(self.fusion_layers):
            tower = f"rpn.head.dyhead_tower.{3 * index + 2 if self.fused else index}."
            if self.fused:
                self._fusion(found, layer, f"rpn.head.dyhead_tower.{3 * index}.b_attn.")
                self._text_layer(layer, f"rpn.head.dyhead_tower.{3 * index + 1}.")
            for convolution in range(3):
                layer(f"{tower}DyConv.{convolution}.conv", width, width, 3, 3)
                layer(f"{tower}DyConv.{convolution}.bn", width)
            layer(f"{tower}AttnConv.1", 1, width, 1, 1)
            layer(f"{tower}relu.fc.0", width // 4, width)
            layer(f"{tower}relu.fc.2", 4 * width, width // 4)
            layer(f"{tower}offset", 27, width, 3, 3)
        for name, rows in (("cls_logits", 80), ("bbox_pred", 4), ("centerness", 1)):
            layer(f"rpn.head.{name}", rows, width, 1, 1)
        layer("rpn.head.dot_product_projection_text", width, text)
        scalars = ("log_scale", "bias0", *(f"scales.{level}.scale" for level in range(5)))
        return found | {f"rpn.head.{name}": (1,) for name in scalars} | {"rpn.head.bias_lang": (text,)}

    def _image(self, found: dict[str, tuple[int, ...]], layer: Callable[..., None]) -> None:
        body = "backbone.body."
        layer(f"{body}patch_embed.proj", self.embed, 3, 4, 4)
        layer(f"{body}patch_embed.norm", self.embed)
        for stage, (depth, heads) in enumerate(zip(self.depths, self.heads, strict=True)):
            size = self.embed * 2**stage
            for index in range(depth):
                block = f"{body}layers.{stage}.blocks.{index}."
                found[f"{block}attn.relative_position_bias_table"] = ((2 * self.window - 1) ** 2, heads)
                layer(f"{block}attn.qkv", 3 * size, size)
                layer(f"{block}attn.proj", size, size)
                layer(f"{block}norm1", size)
                layer(f"{block}norm2", size)
                layer(f"{block}mlp.fc1", 4 * size, size)
                layer(f"{block}mlp.fc2", size, 4 * size)
            if stage < 3:
                layer(f"{body}layers.{stage}.downsample.norm", 4 * size)
                found[f"{body}layers.{stage}.downsample.reduction.weight"] = (2 * size, 4 * size)
            if stage > 0:
                layer(f"{body}norm{stage}", size)
                layer(f"backbone.fpn.fpn_inner{stage + 1}", self.width, size, 1, 1)
                layer(f"backbone.fpn.fpn_layer{stage + 1}", self.width, self.width, 3, 3)
        for name in ("p6", "p7"):
            layer(f"backbone.fpn.top_blocks.{name}", self.width, self.width, 3, 3)

    def _text_layer(self, layer: Callable[..., None], prefix: str) -> None:
        text = self.text_width
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            layer(prefix + name, text, text)
        layer(f"{prefix}attention.output.LayerNorm", text)
        layer(f"{prefix}intermediate.dense", self.text_feedforward, text)
        layer(f"{prefix}output.dense", text, self.text_feedforward)
        layer(f"{prefix}output.LayerNorm", text)

    def _fusion(self, found: dict[str, tuple[int, ...]], layer: Callable[..., None], prefix: str) -> None:
        for side, size in (("v", self.width), ("l", self.text_width)):
            found[f"{prefix}gamma_{side}"] = (size,)
            layer(f"{prefix}layer_norm_{side}", size)
            layer(f"{prefix}attn.{side}_proj", self.attention_width, size)
            layer(f"{prefix}attn.values_{side}_proj", self.attention_width, size)
            layer(f"{prefix}attn.out_{side}_proj", size, self.attention_width)

    def tensors(self, seed: int = 0) -> dict[str, torch.Tensor]:
        """A file's tensors, random and small, with the buffers and the position ids that real files carry."""
        generator = torch.Generator().manual_seed(seed)
        made = {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in self.keys().items()}
        index = torch.zeros(self.window**2, self.window**2, dtype=torch.int64)
        return {
            **made,
            "backbone.body.layers.0.blocks.0.attn.relative_position_index": index,
            "language_backbone.body.model.embeddings.position_ids": torch.arange(512)[None],
            "rpn.anchor_generator.cell_anchors.0": torch.zeros(1, 4),
        }


CUT_GLIP = GlipSizes(
    embed=24, depths=(1, 1, 2, 1), heads=(1, 2, 3, 4), width=32, pieces=763, text_width=16, text_layers=1,
    text_feedforward=32, fusion_layers=2, attention_width=32,
)  # fmt: skip


def cut_glip_model() -> ModelConfig:
    """The model of `CUT_GLIP`: GLIP-T cut down to what builds in a moment, with the released conventions."""
    options = {
        "embed_dim": CUT_GLIP.embed, "depths": list(CUT_GLIP.depths), "num_heads": list(CUT_GLIP.heads),
        "strict_img_size": False, "always_partition": True,
    }  # fmt: skip
    text = {
        "vocab_size": CUT_GLIP.pieces, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32,
    }  # fmt: skip
    return ModelConfig(
        name="glip_t",
        pixels=PixelConfig(64, 128, mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr=True),
        image=ImageEncoderConfig(
            "swin_tiny_patch4_window7_224", options, output_norm=True, pad_then_shift=True, width=CUT_GLIP.width
        ),
        text=TextEncoderConfig(options=text),
        fusion=FusionConfig(
            layers=2, attention_width=32, heads=2, text_heads=2, text_feedforward=32, reread_offsets=True
        ),
        regions=RegionHeadConfig(inclusive_boxes=True, last_pixels=True),
    )


@pytest.fixture
def glip_sizes() -> dict[str, GlipSizes]:
    """Of the released files, by preset."""
    large = GlipSizes(
        embed=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12, fusion_layers=8
    )  # fmt: skip
    return {"glip_t": GlipSizes(), "glip_t_a": GlipSizes(fused=False), "glip_l": large}


@pytest.fixture
def cut_glip(monkeypatch: pytest.MonkeyPatch) -> GlipSizes:
    """A stand-in for GLIP-T whose files are small: they are recognised and built as the released ones are."""
    monkeypatch.setitem(released.KNOWN, (CUT_GLIP.embed, True), "glip_t")
    monkeypatch.setattr("glipv2.checkpoints.released_model", lambda _: cut_glip_model())
    return CUT_GLIP


@pytest.fixture
def glip(cut_glip: GlipSizes, tmp_path: Path) -> Path:
    """A released file of the cut-down GLIP, with averaged weights and an optimiser beside the weights."""
    path = tmp_path / "glip.pth"
    content = {
        "model": {f"module.{name}": value for name, value in cut_glip.tensors().items()},
        "model_ema": {f"module.{name}": value for name, value in cut_glip.tensors(seed=1).items()},
        "optimizer": {"state": {}, "param_groups": []},
        "iteration": 12,
    }
    torch.save(content, path)
    return path


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def run_command(folder: Path, *words: str) -> Ended:
    """`glipv2 WORDS` in a folder, in this process; what it changes of the process is put back."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    interrupt = signal.getsignal(signal.SIGINT)
    code = 0
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", list(sys.argv)),
        mock.patch.dict(os.environ),
        warnings.catch_warnings(),
    ):
        try:
            main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, interrupt)  # which a command that was interrupted ignores to its end
    return Ended(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def glipv2() -> Callable[..., Ended]:
    """See `run_command`."""
    return run_command
