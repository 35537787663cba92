"""The optional parts of this package, and which of them are here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

PURPOSES = {
    "demo": "glipv2 demo, the page to try a model on",
    "docs": "the documentation site",
    "meteor": "METEOR among the caption metrics; needs Java too",
    "onnx": "glipv2 export, and running what it writes",
    "ray": "sweeps on a Ray cluster",
    "serve": "glipv2 serve, the HTTP service",
    "shards": "glipv2 data pack; reading shards needs nothing more",
    "slurm": "sweeps on a SLURM cluster",
    "supervision": "tile= for large pictures, .to_supervision()",
    "sweep": "sweeps that search (TPE), sweeps in processes",
    "tensorboard": "curves in TensorBoard",
    "video": "glipv2 predict images=clip.mp4",
}
DEVELOPMENT = "dev"


@dataclass(frozen=True)
class Extra:
    """An optional part. missing: libraries of it that are not installed."""

    name: str
    missing: tuple[str, ...]

    @property
    def command(self) -> str:
        """What gets it."""
        return f'pip install "glipv2[{self.name}]"'

    @property
    def purpose(self) -> str:
        """What it is for."""
        return PURPOSES.get(self.name, "")


def extras() -> list[Extra]:
    """Every extra, by name."""
    return [
        Extra(name, tuple(one for one in libraries if installed(one) is None))
        for name, libraries in sorted(_optional().items())
    ]


def core_libraries() -> list[str]:
    """What the package can't do without."""
    return [_library(line) for line in _lines() if "extra ==" not in line]


def installed(library: str) -> str | None:
    """The version of an installed library."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _optional() -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in _lines():
        marker = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if marker and marker[1] != DEVELOPMENT:
            found.setdefault(marker[1], []).append(_library(line))
    return found


def _lines() -> list[str]:
    """Requirements as a wheel tells them; in a clone its pyproject.toml, which may be younger than the installation."""
    clone = Path(__file__).parents[2] / "pyproject.toml"
    if not clone.is_file():
        return requires("glipv2") or []
    project = tomllib.loads(clone.read_text("utf-8"))["project"]
    optional = project["optional-dependencies"].items()
    told = [f"{line}; extra == '{name}'" for name, lines in optional for line in lines]
    return [*project["dependencies"], *told]


def _library(line: str) -> str:
    name = re.match(r"[\w.-]+", line)
    assert name is not None, f"a requirement begins with a name: {line}"
    return name[0]
