"""The image side: a timm backbone and a feature pyramid."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Self

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glipv2.errors import UserError, nearest
from glipv2.hub import hub
from glipv2.models.encoder_files import read_backbone
from glipv2.models.swin import use_released_windows
from glipv2.models.weights import load_encoder
from glipv2.ranges import at_least, share, within

log = logging.getLogger(__name__)

STRIDES = (8, 16, 32)


@dataclass
class ImageEncoderConfig:
    """Which timm backbone, how it starts, and the pyramid on top.

    backbone: a timm model name; options: passed to timm.create_model. pretrained: weights from
    the model hub; weights: a file instead (timm's, or official Swin's). frozen_batch_norm: keep the
    loaded statistics and affine parameters of batch norms, as is usual where batches are small.
    output_norm: a LayerNorm on each feature map; pad_then_shift: windows as in the released Swin
    (both for GLIP's Swin only).
    levels: pyramid levels from stride 8 on; width: channels of each; drop_block: probability of
    dropping 3×3 blocks of the pyramid while training, as the released recipes do.
    """

    backbone: str = "resnet18"
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    weights: str | None = None
    frozen_batch_norm: bool = False
    output_norm: bool = False
    pad_then_shift: bool = False
    levels: int = within(1, 9, 5)
    width: int = at_least(1, 256)
    drop_block: float = share(0.0)

    def build(self) -> ImageEncoder:
        """The encoder, with weights loaded as the config says."""
        return ImageEncoder(self)


class ImageEncoder(nn.Module):
    """Normalised images [B, 3, H, W] to pyramid levels [B, D, H_l, W_l] at strides 8, 16, 32, …"""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.backbone = _backbone(config)
        channels: list[int] = list(self.backbone.feature_info.channels())
        self.channels_last_maps = str(getattr(self.backbone, "output_fmt", "NCHW")).endswith("NHWC")
        self.output_norms = nn.ModuleList(
            nn.LayerNorm(width) if config.output_norm else nn.Identity() for width in channels
        )
        if config.pad_then_shift:
            use_released_windows(self.backbone)
        if config.weights:
            tensors = read_backbone(config.weights, self.backbone.state_dict().keys())
            load_encoder(self.backbone, tensors, config.weights, f"image backbone {config.backbone}")
        elif not config.pretrained:
            log.info("image backbone %s: starts from random weights", config.backbone)
        self.pyramid = FeaturePyramid(channels, config.width, config.levels, config.drop_block)
        norms = [module for module in self.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
        self.frozen_norms = tuple(norms) if config.frozen_batch_norm else ()  # a tuple: registered already
        for norm in self.frozen_norms:
            norm.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Frozen batch norms stay in evaluation mode."""
        super().train(mode)
        for norm in self.frozen_norms:
            norm.eval()
        return self

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Maps have size / stride cells, rounded up; sides are multiples of 32, else some backbones cut or refuse."""
        maps = self.backbone(pixels)
        normed = []
        for feature_map, norm in zip(maps, self.output_norms, strict=True):
            rows = feature_map if self.channels_last_maps else feature_map.permute(0, 2, 3, 1)
            normed.append(norm(rows).permute(0, 3, 1, 2))
        return self.pyramid(normed)  # type: ignore[no-any-return]


def _backbone(config: ImageEncoderConfig) -> Any:
    """A timm feature extractor whose maps have strides 8, 16 and 32."""
    if config.backbone.split(".")[0] not in timm.list_models():
        near = nearest(config.backbone, timm.list_models())
        raise UserError(f"model.image.backbone: timm has no model '{config.backbone}'; {near}")
    try:
        # a probe on the meta device tells which stages have the wanted strides, at no cost
        with torch.device("meta"):
            strides = list(
                timm.create_model(config.backbone, features_only=True, **config.options).feature_info.reduction()
            )
        if not set(STRIDES) <= set(strides):
            raise UserError(
                f"model.image.backbone: {config.backbone} has features at strides {strides}, needed are {STRIDES}"
            )
        indices = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)
        with hub() if config.pretrained else nullcontext():
            return timm.create_model(
                config.backbone, features_only=True, out_indices=indices, pretrained=config.pretrained, **config.options
            )
    except OSError as error:
        raise UserError(
            f"model.image: the weights of '{config.backbone}' could not be fetched; download its model.safetensors "
            f"where there is a network and set model.image.weights to it and model.image.pretrained=false"
        ) from error
    except (TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"model.image: timm could not build '{config.backbone}' with {dict(config.options)}: {error}"
        ) from error


class FeaturePyramid(nn.Module):
    """FPN: lateral 1×1, nearest top-down, 3×3 out, then stride-2 convolutions on the last output.

    As released: no norm and no ReLU, the level after P5 reads the P5 *output*, the one after it
    reads relu(P6).
    """

    def __init__(self, in_channels: list[int], width: int, levels: int, drop_block: float) -> None:
        super().__init__()
        if levels < len(in_channels):
            raise UserError(f"model.image.levels: expected at least {len(in_channels)}, but got {levels}")
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in in_channels)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in in_channels)
        self.extra = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(levels - len(in_channels))
        )
        self.drop_block = DropBlock(drop_block) if drop_block > 0 else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, ...]:
        """Backbone maps, finest first, to pyramid levels, finest first."""
        merged = self.lateral[-1](maps[-1])
        levels = [self.output[-1](merged)]
        for index in range(len(maps) - 2, -1, -1):
            side = self.lateral[index](maps[index])
            merged = self.drop_block(side + F.interpolate(merged, size=side.shape[-2:], mode="nearest"))
            levels.insert(0, self.output[index](merged))
        for depth, convolution in enumerate(self.extra):
            levels.append(convolution(levels[-1] if depth == 0 else F.relu(levels[-1])))
        return tuple(levels)


class DropBlock(nn.Module):
    """Zeroes random 3×3 blocks in training, the same in every channel, and rescales the rest."""

    def __init__(self, probability: float, block: int = 3) -> None:
        super().__init__()
        self.rate = probability / block**2
        self.block = block

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            return maps
        seeds = (torch.rand_like(maps[:, :1]) < self.rate).to(maps.dtype)
        keep = 1 - F.max_pool2d(seeds, self.block, stride=1, padding=self.block // 2)
        return maps * keep * (keep.numel() / keep.sum().clamp(min=1))
