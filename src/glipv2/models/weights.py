"""Reading tensors from files without running what is in them, and saying what was loaded."""

from __future__ import annotations

import json
import logging
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glipv2.errors import UserError
from glipv2.models.fetch import local_file

log = logging.getLogger(__name__)

WRAPPERS = ("model", "state_dict", "model_state_dict")
AVERAGED = ("model_ema", "ema_state_dict")  # weights averaged over the training
# what encoders' files hold besides their encoder: heads, and tensors that follow from the configuration
SPARE = re.compile(
    r"(head|fc|classifier|norm|norm_pre|conv_head|bn2|cls|pooler|bert\.pooler)\b|"
    r".*\b(relative_position_index|attn_mask|position_ids|num_batches_tracked)$"
)


@dataclass(frozen=True)
class Contents:
    """Named tensors of a file. wrapper: the entry they stood in; others: its other entries at the top."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    wrapper: str | None
    others: tuple[str, ...]


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


def read_file(source: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The content of a .safetensors, .ckpt, .pth or .bin file (or hf:// address), and its text metadata.

    Nothing in the file is executed. UserError when it is missing, broken, or holds code.
    """
    path = local_file(source)
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


def read_tensors(source: str | Path) -> dict[str, Tensor]:
    """Named tensors of a file; a wrapping `model` or `state_dict` entry is opened."""
    return read_contents(source).tensors


def read_contents(source: str | Path, averaged: bool = False) -> Contents:
    """A file's tensors out of their wrapper, `model` first; averaged=True takes `model_ema` instead.

    UserError when there are no tensors, or no averaged ones.
    """
    content, metadata = read_file(source)
    return opened(content, metadata, str(source), averaged)


def opened(content: Mapping[str, Any], metadata: Mapping[str, str], source: str, averaged: bool = False) -> Contents:
    """See `read_contents`."""
    present = [name for name in (*WRAPPERS, *AVERAGED) if isinstance(content.get(name), Mapping)]
    chosen = next((name for name in present if (name in AVERAGED) == averaged), None)
    if averaged and chosen is None:
        raise UserError(
            f"{source}: expected averaged weights under {' or '.join(AVERAGED)}, "
            f"but found {', '.join(list(content)[:5])}; leave out --ema"
        )
    inner = content[chosen] if chosen else content
    tensors = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{source}: no named tensors in it; keys found: {', '.join(list(content)[:5]) or 'none'}")
    others = tuple(str(name) for name in content if chosen and name != chosen)
    if any(name in AVERAGED for name in others):
        log.info("%s: took '%s'; averaged weights are there too ('model_ema')", source, chosen)
    return Contents(tensors, dict(metadata), chosen, others)


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


def load_encoder(module: nn.Module, tensors: Mapping[str, Tensor], source: str, what: str) -> LoadReport:
    """Fills a whole encoder from a file that may hold heads besides it.

    UserError when a tensor is missing or misshapen; a warning when the file holds further parts of an encoder.
    """
    report = load_into(module, tensors, source, what)
    if report.missing or report.wrong_shape:
        raise UserError(f"{source}: does not fill the {what}: {report}; give the file of this very architecture")
    strange = [name for name in report.unused if not SPARE.match(name)]
    if strange:
        log.warning(
            "%s: %d of its tensors have no place in the %s (%s, …); is it the file of a deeper one?",
            source, len(strange), what, ", ".join(strange[:3]),
        )  # fmt: skip
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
