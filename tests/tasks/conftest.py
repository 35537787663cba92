"""What the claims about tasks share."""

from __future__ import annotations

import pytest
from captioners import TEXT_ENCODERS, built, plain_captioner, with_text

from glipv2.models import ModelConfig
from glipv2.tasks.captioning import CaptioningTask


@pytest.fixture(params=TEXT_ENCODERS)
def captioner(request: pytest.FixtureRequest, model_config: ModelConfig) -> CaptioningTask:
    """Captioners with every kind of text encoder."""
    return built(with_text(model_config, request.param))


@pytest.fixture
def plain(model_config: ModelConfig) -> CaptioningTask:
    """One captioner."""
    return plain_captioner(model_config)
