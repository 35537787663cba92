"""What a weights file is, told by the names of its tensors, and which option takes it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """title: what it is, as in "this is a …"; use: what to do with it."""

    title: str
    use: str


GLIP = Kind("released GLIP checkpoint", "give it as weights=FILE")
MMDET = Kind("GLIP checkpoint of mmdetection", "give it as weights=FILE")
SWIN = Kind("Swin backbone in the official layout", "give it as model.image.weights=FILE")
TIMM_SWIN = Kind("Swin backbone in timm's layout", "give it as model.image.weights=FILE")
BERT = Kind("BERT text encoder", "give it as model.text.weights=FILE")
OWN = Kind("checkpoint of this project whose description is lost", "give the file or run folder that glipv2 wrote")
UNKNOWN = Kind("file of no kind known here", "give a file or run that glipv2 wrote, or a released GLIP checkpoint")

SIGNS = (  # tried in this order
    (r"rpn\.head\.(dyhead_tower|dot_product)", GLIP),
    (r"bbox_head\.head\.(dyhead_tower|dot_product)", MMDET),
    (r"core\.(image|text|fusion)\.", OWN),
    (r"layers\.0\.downsample\.reduction\.", SWIN),
    (r"layers[._]\d+\.blocks\.\d+\.attn\.", TIMM_SWIN),
    (r"(\w+\.)?encoder\.layer\.\d+\.attention\.self\.", BERT),
)


def kind_of(names: Iterable[str]) -> Kind:
    """The kind of a file with these tensors; a `module.` before the names changes nothing."""
    plain = [name.removeprefix("module.") for name in names]
    for sign, kind in SIGNS:
        if any(re.match(sign, name) for name in plain):
            return kind
    return UNKNOWN
