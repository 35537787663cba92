"""Fixtures of the tests of checks."""

from __future__ import annotations

from pathlib import Path

import pytest
from coco_file import HEIGHT, WIDTH
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the images of `coco_file.good()` are."""
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "deep/b.png", "c.png")):
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(tmp_path / "images" / name)
    return tmp_path
