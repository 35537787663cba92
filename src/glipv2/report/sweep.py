"""The folder of a sweep: what was swept over, and the folders of its trials."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

SWEEP_FILE = "multirun.yaml"  # is written before it is known that a single job can be composed
OPTUNA_FILE = "optimization_results.yaml"  # by Optuna's sweeper at its end


def swept_keys(folder: Path) -> tuple[str, ...] | None:
    """The keys and groups that a sweep varies, in the order given; None for a folder that is no sweep's.

    A sweep whose file can't be read varies nothing that is known.
    """
    path = folder / SWEEP_FILE
    if not path.is_file():
        best = _yaml(folder / OPTUNA_FILE).get("best_params")
        return tuple(map(str, _mapping(best))) if (folder / OPTUNA_FILE).is_file() else None
    hydra = _mapping(_yaml(path).get("hydra"))
    swept = [key for key, parsed in _overrides(_words(hydra)).items() if parsed.is_sweep_override()]
    return tuple(dict.fromkeys([*swept, *map(str, _params(hydra))]))


def planned_trials(folder: Path) -> int:
    """How many trials the grid of a sweep has: the product of the values of every key that is swept over."""
    hydra = _mapping(_yaml(folder / SWEEP_FILE).get("hydra"))
    given = _overrides(f"{key}={value}" for key, value in _params(hydra).items()) | _overrides(_words(hydra))
    return prod(len(list(parsed.sweep_iterator())) for parsed in given.values() if parsed.is_sweep_override())


def _overrides(words: Iterable[str]) -> dict[str, Override]:
    """Hydra's reading of the words by key or group; those that it can't read are left out."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    found = {}
    for word in words:
        with suppress(HydraException):
            parsed = OverridesParser.create().parse_override(word)
            found[parsed.key_or_group] = parsed
    return found


def _params(hydra: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(hydra.get("sweeper")).get("params"))


def _yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        return _mapping(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _words(hydra: Mapping[str, Any]) -> list[str]:
    words = _mapping(hydra.get("overrides")).get("task")
    return [str(word) for word in words] if isinstance(words, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def last_word(key: str, keys: Collection[str]) -> str:
    """A key's last word where no other key has the same, else the whole key."""
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in keys) > 1 else last
