"""The folder of a sweep: what was swept over, and the folders of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SWEEP_FILE = "multirun.yaml"  # Hydra writes it before it knows that a single job can be composed


def swept_keys(folder: Path) -> tuple[str, ...] | None:
    """The keys and groups that a sweep varies, in the order given; None for a folder that is no sweep's.

    A sweep whose file can't be read varies nothing that is known.
    """
    path = folder / SWEEP_FILE
    if not path.is_file():
        return None
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    hydra = _hydra_part(path)
    keys: list[str] = []
    for word in _words(hydra):
        try:
            parsed = OverridesParser.create().parse_override(word)
        except HydraException:
            continue
        if parsed.is_sweep_override():
            keys.append(parsed.key_or_group)
    params = _mapping(_mapping(hydra.get("sweeper")).get("params"))
    return tuple(dict.fromkeys([*keys, *map(str, params)]))


def _hydra_part(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        return _mapping(_mapping(yaml.safe_load(path.read_text("utf-8"))).get("hydra"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _words(hydra: Mapping[str, Any]) -> list[str]:
    words = _mapping(hydra.get("overrides")).get("task")
    return [str(word) for word in words] if isinstance(words, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
