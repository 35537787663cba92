"""Models that run in milliseconds."""

from __future__ import annotations

from glipv2.models import ModelConfig
from glipv2.models.fusion import FusionConfig
from glipv2.models.heads.masks import MaskHeadConfig
from glipv2.models.heads.regions import RegionHeadConfig
from glipv2.models.image import ImageEncoderConfig
from glipv2.models.text import TextEncoderConfig
from glipv2.pixels import PixelConfig


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
