"""GLIPv2: localization and vision-language understanding in one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "from_pretrained", "load"]

if TYPE_CHECKING:
    from pathlib import Path

    from glipv2.inference import Predictor


def load(weights: str | Path = "builtin", device: str = "auto") -> Predictor:
    """A trained model from a run folder or a weights file, ready to use.

    Examples:
        >>> model = glipv2.load("runs/demo")
        >>> found = model.detect("photo.jpg", ["red circle", "blue square"])
    """
    from glipv2.inference import Predictor  # torch is only imported when it is used

    return Predictor.load(weights, device)


def from_pretrained(name: str | Path, device: str = "auto") -> Predictor:
    """A model from the hub by its name, or from a folder that `glipv2 push` or `save_pretrained` wrote.

    Examples:
        >>> model = glipv2.from_pretrained("NAME/MODEL")
    """
    from glipv2 import publishing

    return publishing.from_pretrained(name, device)
