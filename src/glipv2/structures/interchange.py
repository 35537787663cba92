"""Predictions in the form of another library."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from glipv2.errors import missing_extra


def supervision() -> Any:
    """The library; UserError where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it draws without OpenCV: nothing here is drawn by it
            return importlib.import_module("supervision")
    except ImportError as error:
        raise missing_extra("supervision", "supervision") from error


def supervision_detections(
    boxes: Tensor, scores: Tensor, labels: Tensor, names: Sequence[str], masks: Tensor | None = None
) -> Any:
    """`supervision.Detections` of boxes [K, 4], scores [K], labels [K], names and masks bool [K, H, W].

    Labels become `class_id`, names `data["class_name"]`, as its annotators and trackers read them. UserError where
    the library is not installed.
    """
    import numpy as np

    return supervision().Detections(
        xyxy=boxes.detach().cpu().double().numpy().reshape(-1, 4),
        mask=None if masks is None else masks.cpu().numpy(),
        confidence=scores.detach().cpu().double().numpy(),
        class_id=labels.cpu().numpy(),
        data={"class_name": np.array(names, dtype=object if not names else None)},
    )
