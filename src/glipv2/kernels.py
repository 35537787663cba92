"""In which of several equal ways a part computes, decided by sizes and devices. Light: `glipv2 doctor` tells it too."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Positions of all pyramids that several prompts read at once: more of them hide what starting each operation costs,
# until on a CPU the cache is full (measured: docs/performance.md), elsewhere the memory of a batch of six full-size
# pictures (not measured)
POSITIONS_AT_ONCE = {"cpu": 2**13, "other": 2**17}
TEXTS_AT_ONCE = 8  # rows that the text encoder reads together: sixteen gained no more on two threads of a CPU


class Sampling(Enum):
    """How deformable convolutions are computed. All give the same numbers; `AUTO` takes the fastest known.

    Measured on a CPU: docs/performance.md. GATHER needs no compiler, COMPILED one (torch.compile).
    """

    AUTO = "auto"
    TORCHVISION = "torchvision"
    GATHER = "gather"
    COMPILED = "compiled"

    def on(self, device: torch.device) -> Sampling:
        """The choice that AUTO stands for on a device; exported graphs keep torchvision's one operator."""
        if self is not Sampling.AUTO:
            return self
        from torch.compiler import is_exporting

        gather = device.type == "cpu" and not is_exporting()
        return Sampling.GATHER if gather else Sampling.TORCHVISION


def folding_is_cheaper(positions: int, tokens: int, heads: int, attention_width: int, image_width: int) -> bool:
    """Whether folding a cross-attention onto its text takes fewer multiplications than projecting the image.

    Both take each as often a direction. Folded, each position meets every token in `image_width` channels a head, and
    each token crosses the widths once. Projected, each position crosses the widths once and meets every token in its
    head's share of the attention's width. With wide heads (the released 8 of 256 channels on 256) folding always wins
    where the text is shorter than the pyramid; with narrow ones a long text is cheaper projected.
    """
    folded = positions * tokens * heads * image_width + tokens * attention_width * image_width
    projected = positions * attention_width * (image_width + tokens)
    return folded < projected


def prompts_at_once(positions: int, device: torch.device) -> int:
    """How many prompts read pictures of so many positions together; one where the pictures are large."""
    most = POSITIONS_AT_ONCE["cpu" if device.type == "cpu" else "other"]
    return max(1, most // max(1, positions))


def texts_at_once(count: int) -> int:
    """How many prompts are read together where each has `count` rows."""
    return max(1, TEXTS_AT_ONCE // max(1, count))
