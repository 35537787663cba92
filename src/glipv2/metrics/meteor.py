"""METEOR by its official program: pip install "glipv2[meteor]", and a Java runtime."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from glipv2.errors import UserError
from glipv2.metrics.tables import UNDEFINED

PROBLEM = "METEOR is the number of a Java program"
SIGN = "|||"  # parts the fields of the program's lines


def check_meteor() -> None:
    """UserError where the program or Java is missing."""
    if importlib.util.find_spec("pycocoevalcap") is None:
        raise UserError(f'{PROBLEM}, which is not installed: pip install "glipv2[meteor]", or leave METEOR out')
    if shutil.which("java") is None:
        raise UserError(f"{PROBLEM}, and there is no java on the PATH: install a Java runtime, or leave METEOR out")


def meteor(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """METEOR 1.5 over all images in [0, 1], and of each, from lines of tokens parted by blanks; -1 without images."""
    check_meteor()
    if not predictions:
        return UNDEFINED, []
    from pycocoevalcap.meteor.meteor import Meteor

    known = {place: [_plain(line) for line in lines] for place, lines in enumerate(references)}
    found = {place: [_plain(line)] for place, line in enumerate(predictions)}
    try:
        with _ended(Meteor()) as program:
            score, each = program.compute_score(known, found)
    except (OSError, ValueError) as error:  # it died, or printed something else than numbers
        raise UserError(f"{PROBLEM}, which failed ({error}); check `java -version`, or leave METEOR out") from error
    return float(score), [float(own) for own in each]


def _plain(line: str) -> str:
    return line.replace(SIGN, " ").replace("\n", " ")


@contextmanager
def _ended(program: Any) -> Iterator[Any]:
    """Its process is waited for: the library leaves it behind otherwise."""
    process: subprocess.Popen[bytes] = program.meteor_p
    try:
        yield program
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
