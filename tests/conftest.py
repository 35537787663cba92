"""Fixtures shared by all tests: small models, where the shared material lies, one thread a worker."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import hydra
import pytest
import torch

from glipv2.cli import main
from glipv2.config import TrainConfig, config_folder, register_schemas, typed
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.fusion import FusionConfig
from glipv2.models.heads.masks import MaskHeadConfig
from glipv2.models.heads.regions import RegionHeadConfig
from glipv2.models.image import ImageEncoderConfig
from glipv2.models.text import TextEncoderConfig
from glipv2.pixels import PixelConfig
from glipv2.tasks.detection import DetectionConfig, DetectionTask

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

torch.set_num_threads(1)  # workers of pytest-xdist would fight for the cores


@pytest.fixture
def shared() -> Path:
    """The folder of shared fixtures; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared fixtures (../shared) are not on this machine")
    return SHARED


def tiny_model() -> ModelConfig:
    """A model small enough to run in milliseconds, with every kind of part, on 64 px images."""
    return ModelConfig(
        name="tiny",
        pixels=PixelConfig(short_side=64, max_long_side=128),
        image=ImageEncoderConfig(
            backbone="resnet10t", options={"stem_width": 8, "channels": [8, 16, 24, 32]}, levels=4, width=32
        ),
        text=TextEncoderConfig(
            options={
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "max_position_embeddings": 256,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
            }
        ),
        fusion=FusionConfig(
            layers=2, attention_width=32, heads=2, text_heads=2, text_feedforward=64, dropout=0.0, groups=4
        ),
        regions=RegionHeadConfig(anchor_scale=4.0),
        masks=MaskHeadConfig(width=16, pixels=True),
    )


@pytest.fixture
def model_config() -> ModelConfig:
    """See `tiny_model`."""
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


def without_hub(model: ModelConfig) -> ModelConfig:
    """A model that starts from random weights and needs no file besides the package."""
    source = model.tokenizer.source
    rows = {} if source == "builtin" else {"vocab_size": 30522}  # of BERT's vocabulary, which is not here
    return replace(
        model,
        tokenizer=replace(model.tokenizer, source="builtin"),
        image=replace(model.image, pretrained=False, weights=None),
        text=replace(model.text, pretrained=False, weights=None, options={**rows, **model.text.options}),
    )


@pytest.fixture
def compose() -> Callable[[Sequence[str]], TrainConfig]:
    """See `composed`."""
    return composed


@pytest.fixture
def preset() -> Callable[[str], ModelConfig]:
    """A preset of the `model` group by name, see `without_hub`."""
    return lambda name: without_hub(composed([f"model={name}"]).model)


@pytest.fixture
def offline() -> Callable[[ModelConfig], ModelConfig]:
    """See `without_hub`."""
    return without_hub


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
    return Ended(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def glipv2() -> Callable[..., Ended]:
    """See `run_command`."""
    return run_command
