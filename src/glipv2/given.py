"""Pictures and names as people give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from glipv2.data.images import read_image, to_tensor
from glipv2.data.prompts import PromptConfig
from glipv2.errors import UserError
from glipv2.structures import Vocabulary

Picture = str | Path | Image | Tensor


def is_single(images: Picture | Sequence[Picture]) -> bool:
    """Whether one picture is meant, and not a sequence of them."""
    return isinstance(images, (str, Path, Image, Tensor))


def for_each(prompts: PromptConfig | Sequence[PromptConfig] | None, count: int) -> list[PromptConfig]:
    """One a picture; UserError for a list of another length."""
    if prompts is None or isinstance(prompts, PromptConfig):
        return [prompts or PromptConfig()] * count
    if len(prompts) != count:
        raise UserError(f"expected a PromptConfig for each of {count} pictures, but got {len(prompts)}")
    return list(prompts)


def vocabulary_of(names: Sequence[str]) -> Vocabulary:
    """Names asked for by a user, ids counting from 1; UserError when there is none or one comes twice."""
    if isinstance(names, str):
        raise UserError(f"expected a list of names, but got the text '{names}'; write [\"{names}\"]")
    strange = next((name for name in names if not isinstance(name, str)), None)
    if strange is not None:
        raise UserError(f"expected names, but got {strange!r} among them; give texts only, or a list for each picture")
    return Vocabulary(tuple(names))


def pixels_of(picture: Picture) -> Tensor:
    """uint8 [3, H, W], upright; UserError for a tensor that is no picture and a file that can't be read."""
    if isinstance(picture, Tensor):
        if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != 3:
            raise UserError(f"expected a uint8 tensor [3, H, W], but got {picture.dtype} {list(picture.shape)}")
        return picture
    return to_tensor(picture.convert("RGB") if isinstance(picture, Image) else read_image(picture))
