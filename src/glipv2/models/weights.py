"""Reading tensors from files without running what is in them, and saying what was loaded."""

from __future__ import annotations

import json
import logging
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glipv2.errors import UserError

log = logging.getLogger(__name__)

WRAPPERS = ("model", "state_dict", "model_state_dict")


@dataclass(frozen=True)
class LoadReport:
    """What a file gave a module: numbers of tensors, and the names that found no partner."""

    loaded: int
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    wrong_shape: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"loaded {self.loaded} tensors"]
        for what, names in (
            ("not in the file", self.missing),
            ("not used", self.unused),
            ("of another shape", self.wrong_shape),
        ):
            if names:
                parts.append(f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})")
        return "; ".join(parts)


def read_file(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The content of a .safetensors, .ckpt, .pth or .bin file, and its text metadata.

    Nothing in the file is executed. UserError when it is missing, broken, or holds code.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{path}: no such weights file; give the path of a .safetensors, .ckpt or .pth file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError) as error:
        if isinstance(error, pickle.UnpicklingError) and _is_pickle(path):
            raise UserError(
                f"{path}: holds Python objects besides tensors, and loading them could run code; "
                f"ask its author for a .safetensors file or a plain state dict ({_blocked(error)})"
            ) from error
        detail = " ".join(str(error).split())[:120] or "it is empty or cut off"
        raise UserError(f"{path}: not a readable weights file ({detail}); copy or download it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected named tensors, but got {type(content).__name__}")
    return content, {}


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Named tensors of a file; a wrapping `model` or `state_dict` entry is opened."""
    content, _ = read_file(path)
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = dict(content[wrapper])
            break
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path}: no named tensors in it; keys found: {', '.join(list(content)[:5]) or 'none'}")
    return tensors


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], source: str, what: str) -> LoadReport:
    """Copies the tensors whose names and shapes fit and logs what was loaded and what was not.

    UserError when nothing fits: then the file belongs to another architecture.
    """
    own = module.state_dict()
    fitting = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    report = LoadReport(
        loaded=len(fitting),
        missing=tuple(name for name in own if name not in tensors),
        unused=tuple(name for name in tensors if name not in own),
        wrong_shape=tuple(name for name in tensors if name in own and name not in fitting),
    )
    if not fitting:
        raise UserError(f"{source}: none of its {len(tensors)} tensors fits the {what}; {report}")
    module.load_state_dict(fitting, strict=False)
    log.info("%s from %s: %s", what, source, report)
    return report


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({str(error)[:120]})") from error


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as torch's archives or bare pickles do, and not as a text or a picture."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80" or zipfile.is_zipfile(path)


def _blocked(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "global" in line.lower()]
    return lines[0][:160] if lines else "unsafe pickle"
