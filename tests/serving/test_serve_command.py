"""Claims about the words of `glipv2 serve`: limits that make sense, a port that is free, before weights are read."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("port=8000",), "weights is not set; as in glipv2 serve weights=runs/demo"),
        (("weights=x", "prot=1"), "no key 'prot'; did you mean 'port'?"),
        (("weights=x", "port=70000"), "port: expected 0 to 65535, but got 70000"),
        (("weights=x", "waiting_pixels=5"), "waiting_pixels: expected at least pixels=25000000, but got 5"),
        (("weights=x", "port=0"), "weights=x: no such file or run folder"),
        (("weights=x", "host=no.such.host.invalid"), "no.such.host.invalid:8000 can't be listened at"),
    ],
)
def test_words_that_make_no_sense_are_one_line(
    glipv2: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    ended = glipv2(tmp_path, "serve", *words)
    assert ended.code == 2
    assert told in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_port_that_is_taken_is_told(glipv2: Callable[..., Any], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = glipv2(tmp_path, "serve", "weights=x", f"port={port}")
    assert f"127.0.0.1:{port} can't be listened at (address already in use); choose another port=" in ended.err


def test_it_listens_to_this_machine_alone_unless_asked() -> None:
    from glipv2.serving.settings import ServeConfig

    assert ServeConfig(weights="x").is_private
    assert not ServeConfig(weights="x", host="0.0.0.0").is_private
