"""How training samples vary: values only, `transforms` does the work."""

from __future__ import annotations

from dataclasses import dataclass

from glipv2.ranges import at_least, share


@dataclass
class AugmentConfig:
    """How training samples vary.

    short_sides: drawn for each image (empty = the model's own); flip: probability of a mirror
    image, never when a text says left or right; crop: probability of an IoU-constrained random
    crop; zoom_out: probability of placing the image on a larger canvas; color: strength of
    brightness, contrast and saturation jitter, 0–1 (hue stays: names say colours).
    """

    short_sides: list[int] = at_least(1, [])
    flip: float = share(0.5)
    crop: float = share(0.0)
    zoom_out: float = share(0.0)
    color: float = share(0.0)
