"""Writes the reference of all settings from the schemas, which hold types, defaults and ranges.

python scripts/configuration_page.py docs/configuration.md
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glipv2.config import COMMANDS, SCHEMAS

HEAD = """\
# Configuration

Every key of `glipv2 train`, `evaluate` and `predict`, written from the schemas by `scripts/configuration_page.py`.
Presets (`conf/`) and experiments overrule the defaults below; `--cfg job` shows what a command would run with.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    for command, schema in COMMANDS.items():
        parts += [f"\n## glipv2 {command}\n", *section(schema, "", skipped=tuple(SCHEMAS))]
    for group, schemas in SCHEMAS.items():
        parts.append(f"\n## {group}=\n")
        for name, schema in sorted(schemas.items()):
            parts += [f"\n### {group}={name}\n", *section(schema, f"{group}.")]
    return "\n".join(parts).rstrip() + "\n"


def section(schema: type, prefix: str, skipped: tuple[str, ...] = ()) -> Iterator[str]:
    """What a schema says of itself, and a table of its keys, those of its parts included."""
    yield from (f"{about(schema)}\n", "| key | type | default |", "|---|---|---|")
    yield from rows(schema, prefix, skipped)


def about(schema: type) -> str:
    """Its docstring in one paragraph; dataclasses without one have their own signature there, which says nothing."""
    text = inspect.cleandoc(schema.__doc__ or "")
    return "" if text.startswith(f"{schema.__name__}(") else " ".join(text.replace("|", "\\|").split())


def rows(schema: Any, prefix: str, skipped: tuple[str, ...] = ()) -> Iterator[str]:
    """A line a key; keys of a group with schemas of its own stand with that group."""
    for entry in dataclasses.fields(schema):
        if entry.name in skipped and not prefix:
            continue
        factory = entry.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            yield from rows(factory, f"{prefix}{entry.name}.")
        else:
            yield f"| `{prefix}{entry.name}` | {type_of(entry)} | {default_of(entry)} |"


def type_of(entry: dataclasses.Field[Any]) -> str:
    """Its type and, where numbers are held to one, its range."""
    name = str(entry.type).replace("|", "or")
    held = entry.metadata.get("range")
    return f"{name}, {held.told()}" if held is not None else name


def default_of(entry: dataclasses.Field[Any]) -> str:
    """As it would be given on the command line."""
    made = entry.default_factory
    value = entry.default if made is dataclasses.MISSING else made()
    if value is dataclasses.MISSING or value == "???":
        return "to be given"
    return f"`{str(value).replace('|', chr(92) + '|')}`" if value != "" else "empty"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), "utf-8")
