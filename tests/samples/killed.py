"""Processes that end by SIGKILL in the middle of what they do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest


def killed(act: Callable[[], Any]) -> None:
    """Runs in a process of its own, which must end by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def die(*_: Any, **__: Any) -> None:
    """Ends this process at once, as the system does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def dies_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """The process is killed at the end of the call of that number."""
    real, calls = getattr(owner, name), []

    def act(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        calls.append(1)
        if len(calls) == call:
            die()
        return found

    monkeypatch.setattr(owner, name, act)
