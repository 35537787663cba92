"""What other installed packages add, by their entry points: choices of a group of presets, and modules to import.

A point of the group `glipv2.task`, `glipv2.data`, … names a config dataclass, which is then `task=NAME`. A point of
`glipv2.plugins` names a module that is imported, or a function that is called, before anything is composed or weights
are read: there a package registers a backbone with timm or an architecture with transformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from glipv2.errors import UserError

MODULES = "glipv2.plugins"


def plugged_in(groups: Sequence[str]) -> dict[str, dict[str, type]]:
    """Imports what is to be imported; the config dataclasses that were added to each group, by name.

    UserError naming the package whose plug-in breaks.
    """
    points = entry_points()
    for point in points.select(group=MODULES):
        loaded = _loaded(point)
        if callable(loaded):
            loaded()
    return {group: {point.name: _schema(point) for point in points.select(group=f"glipv2.{group}")} for group in groups}


def added_to(known: Mapping[str, type], found: Mapping[str, type], group: str) -> dict[str, type]:
    """Both together; UserError for a name that both have."""
    twice = sorted(name for name, schema in found.items() if known.get(name, schema) is not schema)
    if twice:
        raise UserError(f"a plug-in adds {group}={twice[0]}, which there is already; give its entry point another name")
    return {**known, **found}


def _schema(point: EntryPoint) -> type:
    schema = _loaded(point)
    if not (isinstance(schema, type) and dataclasses.is_dataclass(schema)):
        raise UserError(f"{_told(point)}: expected a config dataclass, but got {schema!r:.80}; name its class")
    name = getattr(schema, "name", point.name)  # weights find their task by it
    if isinstance(name, str) and name != point.name:
        raise UserError(f"{_told(point)}: its class calls itself '{name}'; let both names be the same")
    return schema


def _loaded(point: EntryPoint) -> Any:
    """Whatever another package's module does while it is imported, this one is to blame for nothing."""
    try:
        return point.load()
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{_told(point)} can't be loaded ({type(error).__name__}: {why}); mend or uninstall it"
        ) from error


def _told(point: EntryPoint) -> str:
    package = f" of {point.dist.name}" if point.dist is not None else ""
    return f"plug-in{package}: {point.group} {point.name} = {point.value}"
