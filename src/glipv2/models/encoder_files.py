"""Files of encoders alone, as their authors publish them, under the names that the modules here have."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from torch import Tensor

from glipv2.errors import UserError
from glipv2.models.kinds import BERT, GLIP, MMDET, OWN, SWIN, TIMM_SWIN, Kind, kind_of
from glipv2.models.released import plain, timm_swin_name
from glipv2.models.weights import read_tensors

OLD_NORM = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))


def read_backbone(source: str | Path, own: Collection[str]) -> dict[str, Tensor]:
    """Tensors of timm's or the official Swin's files for a timm feature extractor with the names `own`.

    UserError when it is a file of another kind.
    """
    tensors = {plain(name): value for name, value in read_tensors(source).items()}
    kind = _refuse(source, tensors, (GLIP, MMDET, BERT, OWN), "an image backbone", "model.image.weights")
    if kind == SWIN and any(name.startswith("layers_1.downsample.") for name in own):
        return {timm_swin_name(name): value for name, value in tensors.items()}
    # feature extractors join the name of a stage and its number: stages.0 -> stages_0
    joined = {re.sub(r"^([a-z]+)_(\d+)\.", r"\1.\2.", name): name for name in own}
    return {name if name in own else joined.get(name, name): value for name, value in tensors.items()}


def read_text_encoder(source: str | Path, architecture: str) -> dict[str, Tensor]:
    """Tensors of a single transformers file, without the `bert.` (or other architecture) before the encoder's names.

    UserError when it is a file of another kind.
    """
    tensors = {plain(name): value for name, value in read_tensors(source).items()}
    _refuse(source, tensors, (GLIP, MMDET, SWIN, TIMM_SWIN, OWN), "a text encoder", "model.text.weights")
    return {_encoder_name(name, architecture): value for name, value in tensors.items()}


def _encoder_name(name: str, architecture: str) -> str:
    name = name.removeprefix(f"{architecture}.")
    for old, new in OLD_NORM:  # as written by the first conversions from TensorFlow
        name = name.replace(old, new)
    return name


def _refuse(source: str | Path, names: Collection[str], others: tuple[Kind, ...], wanted: str, option: str) -> Kind:
    """The kind of a file; UserError when it is one of `others`."""
    kind = kind_of(names)
    if kind in others:
        raise UserError(f"{option}={source}: expected {wanted}, but this is a {kind.title}; {kind.use}")
    return kind
