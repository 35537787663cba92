"""Claims about the documentation site: it builds without a warning, and its reference knows every key."""

from __future__ import annotations

import html
import logging
import re
from pathlib import Path

import pytest
from configuration_page import page
from mkdocs.commands.build import build
from mkdocs.config import load_config

import glipv2
from glipv2.config import COMMANDS, SCHEMAS, known_keys
from glipv2.errors import UserError
from glipv2.inference import Predictor

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_the_reference_is_that_of_the_schemas() -> None:
    assert (DOCS / "configuration.md").read_text("utf-8") == page(), (
        "python scripts/configuration_page.py docs/configuration.md"
    )


def test_the_reference_knows_every_key_that_a_command_takes() -> None:
    told = set(re.findall(r"^\| `([\w.]+)`", page(), re.MULTILINE))
    for schema in COMMANDS.values():
        parts = {key for key in known_keys(schema) if any(other.startswith(f"{key}.") for other in known_keys(schema))}
        missing = set(known_keys(schema)) - told - parts - {"experiment", *SCHEMAS}
        assert not missing


def test_the_site_builds_without_a_warning_and_says_what_the_docstrings_say(tmp_path: Path) -> None:
    loaded = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site"))
    assert loaded.validation.links.anchors == logging.WARNING  # a link into a page is checked too; strict refuses
    build(loaded)
    assert (tmp_path / "site/configuration/index.html").is_file()
    text = html.unescape(re.sub(r"<[^>]+>", "", (tmp_path / "site/api/index.html").read_text("utf-8")))
    for told in (glipv2.load.__doc__, Predictor.detect.__doc__, UserError.__doc__):
        assert told is not None and told.partition("\n")[0] in text
    assert "threshold: float = 0.0" in text


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.stem)
def test_every_link_to_a_file_leads_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
