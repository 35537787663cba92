"""A run's folder: what is written where, whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from glipv2 import __version__
from glipv2.errors import UserError

ENVIRONMENT = "environment.json"  # where a run was made, and by which words
CONFIG = "config.yaml"
LOCK = ".lock"


@dataclass(frozen=True)
class Claim:
    """A folder taken for a run, with what was there before: names in it, and which folders on its way were missing."""

    folder: Path
    earlier: frozenset[str]
    made: tuple[Path, ...]

    def give_back(self) -> None:
        """Removes everything that came after the claim."""
        for path in self.folder.iterdir():
            if path.name not in self.earlier:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        remove_empty(self.made)


def claim_folder(folder: Path) -> Claim:
    """Makes the folder of a run; UserError for one that already holds a run: nothing is overwritten silently."""
    if (folder / "config.yaml").exists():
        way = f"go on with it by resume={folder}" if (folder / "checkpoints/last.ckpt").exists() else "remove this one"
        raise UserError(f"output={folder}: already holds a run; choose another folder, or {way}")
    made = missing_folders(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return Claim(folder, frozenset(path.name for path in folder.iterdir()), tuple(made))


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder that is there, also those that begin within the same second.

    UserError where another one works in it. A process that dies, however, lets go of it.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(f"output={folder}: another run works in it; wait for it, or choose another folder") from None
    except (NotImplementedError, OSError):  # a file system without locks
        yield
        return
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Makes the folder of a command's files before its long work; takes it back if that ends without any."""
    made = missing_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        remove_empty(made)
        raise


def missing_folders(folder: Path) -> list[Path]:
    """The folders that making `folder` would make, the deepest first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes those that are there and hold nothing."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Writes a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """`metrics.json`: flat, names as logged; entries of earlier evaluations in this folder stay."""
    path = folder / "metrics.json"
    earlier = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    write_json(path, {**earlier, **{name: float(value) for name, value in metrics.items()}})


class JsonList:
    """A JSON list written record by record, so that it never stands in memory; whole when closed, or not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(path.name + ".partial")
        self._file: TextIO | None = None

    def extend(self, records: Iterable[Any]) -> None:
        """Writes further records, one a line."""
        for record in records:
            if self._file is None:
                self._file = self._opened()
                self._file.write("[\n")
            else:
                self._file.write(",\n")
            self._file.write(json.dumps(record, ensure_ascii=False))

    def close(self) -> None:
        """Puts the file in its place."""
        if self._file is None:
            self._file = self._opened()
            self._file.write("[")
        self._file.write("\n]\n")
        self._file.close()
        self._file = None
        os.replace(self._partial, self.path)

    def abandon(self) -> None:
        """Takes back what was not closed."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._partial.unlink(missing_ok=True)

    def _opened(self) -> TextIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self._partial.open("w", encoding="utf-8")


def environment() -> dict[str, Any]:
    """What a number depends on besides its config."""
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "folder": os.getcwd(),
        "glipv2": __version__,
        **_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "device": device,
    }


def _version() -> dict[str, Any]:
    """The commit of the project's clone and whether its files have changed since; nulls for an installed package."""
    here = Path(__file__).parent
    if _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is None:  # a clone of something around it
        return {"commit": None, "dirty": None}
    changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", _top(here))
    return {"commit": _git(here, "rev-parse", "--short", "HEAD"), "dirty": None if changed is None else bool(changed)}


def _top(here: Path) -> str:
    return _git(here, "rev-parse", "--show-toplevel") or str(here)


def _git(folder: Path, *words: str) -> str | None:
    """What git says, None where it fails or is not there."""
    try:
        answer = subprocess.run(
            ["git", *words], check=False, cwd=folder, capture_output=True, text=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
