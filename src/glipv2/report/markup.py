"""HTML and SVG text in which everything is escaped unless it was built here."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID_TAGS = frozenset({"br", "img", "meta"})  # HTML elements that have no closing tag


class Markup(str):
    """Text that is already HTML or SVG. Plain strings become Markup only through `element` or `escape`."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Any value as text that can stand between tags or inside a quoted attribute; Markup stays as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def join(parts: Iterable[object], separator: str = "") -> Markup:
    """Parts side by side, each escaped if it has to be."""
    return Markup(escape(separator).join(escape(part) for part in parts))


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """`<tag attributes>children</tag>`, children and attribute values escaped.

    In attribute names a trailing underscore is dropped and the others become hyphens (`class_`,
    `aria_label`). None and False leave an attribute out, True gives it no value.
    """
    opened = tag + "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in VOID_TAGS:
        assert not children, f"<{tag}> holds nothing"
        return Markup(f"<{opened}>")
    return Markup(f"<{opened}>{join(children)}</{tag}>")


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    # Quoting also what is Markup: an attribute never holds tags.
    return f" {written}" if value is True else f' {written}="{html.escape(str(value), quote=True)}"'
