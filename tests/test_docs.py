"""Claims about the pages that tell how to measure and fine-tune: their commands compose, and the site knows them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("protocols.md", "glip.md")
COMMANDS = [
    (page, line)
    for page in PAGES
    for block in re.findall(r"```\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    for line in block.splitlines()
    if line.startswith(("glipv2 train", "glipv2 evaluate"))
]


def test_there_are_commands_for_every_protocol() -> None:
    every = " ".join(line for _, line in COMMANDS)
    for word in ("coco", "lvis", "odinw", "flickr30k"):
        assert f"protocol={word}" in every
    for word in ("full", "prompt", "linear"):
        assert f"tune={word}" in every


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_of_the_docs_composes(glipv2: Callable[..., Any], tmp_path: Path, page: str, line: str) -> None:
    ended = glipv2(tmp_path, *shlex.split(line)[1:], "--cfg", "job")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_in_the_navigation(page: str) -> None:
    assert page in (DOCS.parent / "mkdocs.yml").read_text("utf-8")
