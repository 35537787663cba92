"""Loggers that are silent for a while, where whoever logs is not the one to tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hushed(name: str, level: int = logging.ERROR) -> Iterator[None]:
    """What the logger of that name, and those below it, say under `level` is not heard."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
