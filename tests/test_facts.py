"""Claims about what is told of a process: the memory that it held itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HELD = 2**30


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="this system does not tell")
def test_what_a_process_held_is_not_what_the_one_that_started_it_held() -> None:
    ballast = b"x" * HELD
    code = "from glipv2.facts import peak_of_process as peak; print(peak())"
    told = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert 2**26 < told < len(ballast)
