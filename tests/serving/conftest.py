"""Fixtures of a service: a small model of all tasks behind its app."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from glipv2.inference import Predictor
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.serving.app import build_app
from glipv2.serving.served import ServedModel
from glipv2.serving.settings import ServeConfig
from glipv2.structures import Vocabulary
from glipv2.tasks.joint import JointConfig


@pytest.fixture
def predictor(model_config: ModelConfig) -> Predictor:
    """Untrained, with every task."""
    torch.manual_seed(0)
    task = JointConfig().build(model_config, LossConfig.grounding_only(), ("yes", "no", "2")).eval()
    for part in task.subtasks().values():
        part.vocabulary = Vocabulary(("green star", "pink heart"), (7, 9))
    with torch.no_grad():
        task.get_submodule("regions").prior_bias.fill_(0)
    return Predictor(task, "cpu")


@pytest.fixture
def served(predictor: Predictor) -> Callable[..., ServedModel]:
    """The model behind limits."""
    return lambda **limits: ServedModel(predictor, ServeConfig(weights="any", **limits))


@pytest.fixture
def client(served: Callable[..., ServedModel]) -> Iterator[TestClient]:
    """The whole app, as a client sees it."""
    model = served(pixels=100_000, body_bytes=200_000, text=100, names=5, letters=300, timeout=60.0)
    with TestClient(build_app(model, model.config)[0], raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def photo() -> bytes:
    """A PNG of 90 x 60 pixels of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
