"""A model of all five tasks for the page, and pictures for it."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from glipv2.inference import Predictor
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.structures import Vocabulary
from glipv2.tasks.joint import JointConfig


@pytest.fixture
def model(model_config: ModelConfig) -> Predictor:
    """Tiny, untrained, and sure of everything."""
    torch.manual_seed(0)
    task = JointConfig().build(model_config, LossConfig(), ("yes", "no", "<b>2</b>")).eval()
    for part in task.subtasks().values():
        part.vocabulary = Vocabulary(("red circle", "dog"))
    return Predictor(task, "cpu")


@pytest.fixture
def png() -> bytes:
    """A small picture as a file's bytes."""
    torch.manual_seed(0)
    file = io.BytesIO()
    Image.fromarray(torch.randint(0, 255, (64, 96, 3), dtype=torch.uint8).numpy()).save(file, "png")
    return file.getvalue()
