"""What weights were trained with besides their tensors: a run that starts from them must keep it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from glipv2.models.core import ModelConfig
from glipv2.models.text import TextEncoderConfig

AS_WEIGHTS = "as_weights"  # the name of the model that is whatever the weights belong to
FACTS = (
    ("fusion", "reread_offsets"),
    ("regions", "inclusive_boxes"),
    ("regions", "last_pixels"),
    ("pixels", "mean"),
    ("pixels", "std"),
    ("pixels", "bgr"),
)


def starting_from(model: ModelConfig, weights: ModelConfig) -> tuple[ModelConfig, tuple[str, ...]]:
    """The model of a run whose whole core comes from the weights of another, and what changed, for its log.

    The facts of FACTS are the weights', and all of it for `model=as_weights`; no encoder is fetched or read on its
    own any more.
    """
    if model.name == AS_WEIGHTS:
        model = weights
    changes: dict[str, dict[str, Any]] = {}
    for part, name in FACTS:
        value = getattr(getattr(weights, part), name)
        if value != getattr(getattr(model, part), name):
            changes.setdefault(part, {})[name] = value
    parts = {part: replace(getattr(model, part), **values) for part, values in changes.items()}
    own = replace(
        model,
        **parts,
        image=replace(model.image, pretrained=False, weights=None),
        text=_text(model.text, weights.text),
    )
    said = (f"{part}.{name}={value}" for part, values in changes.items() for name, value in values.items())
    return own, tuple(said)


def _text(own: TextEncoderConfig, weights: TextEncoderConfig) -> TextEncoderConfig:
    """The weights' text encoder, with the options that the run sets itself."""
    if own.architecture == weights.architecture:
        chosen = replace(own, options={**weights.options, **own.options})
    else:
        chosen = weights if own.brings_config else own  # the latter won't fit, and the run will say so
    return replace(chosen, pretrained=False, weights=None)
