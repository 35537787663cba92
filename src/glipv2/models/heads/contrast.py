"""Regions and words in one space, compared before they have read each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glipv2.ranges import at_least


@dataclass
class ContrastHeadConfig:
    """width: of the common space (released: 64); log_scale: start of the learned logarithm of the temperature."""

    width: int = at_least(1, 64)
    log_scale: float = -2.0  # released: 0, a temperature of 1, with which cosines can hardly tell words apart

    def build(self, image_width: int, text_width: int) -> ContrastHead:
        """The head for pyramid levels of `image_width` and tokens of `text_width` channels."""
        return ContrastHead(self, image_width, text_width)


class ContrastHead(nn.Module):
    """Two linear maps and a temperature."""

    def __init__(self, config: ContrastHeadConfig, image_width: int, text_width: int) -> None:
        super().__init__()
        self.regions = nn.Linear(image_width, config.width)
        self.words = nn.Linear(text_width, config.width)
        self.log_scale = nn.Parameter(torch.tensor(config.log_scale))

    def forward(self, regions: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """regions [K, D] and words [M, T] to unit rows [K, E] and [M, E]; regions also divided by the temperature."""
        with torch.autocast(regions.device.type, enabled=False):
            own = self.words.weight.dtype
            regions = F.normalize(self.regions(regions.to(own)), dim=-1) / self.log_scale.exp()
            return regions, F.normalize(self.words(words.to(own)), dim=-1)
