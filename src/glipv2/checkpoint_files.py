"""Checkpoint files on a disk that may be full, by a process that may be killed: whole, and with one to fall back to."""

from __future__ import annotations

import errno
import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from glipv2.errors import UserError

log = logging.getLogger(__name__)

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"  # the last.ckpt before


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints appear whole or not at all, after a power cut too; the one before `last.ckpt` is kept beside it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        save_whole(checkpoint, Path(path))


def save_whole(content: Mapping[str, Any], place: Path) -> None:
    """See `WholeCheckpoints`; OSError where the disk does not take it, and nothing is changed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f"{place.name}.partial")
    try:
        with partial.open("wb") as file:
            _write(content, file, place)
        if place.name == LAST and place.exists():
            _keep(place, place.with_name(PREVIOUS))
        os.replace(partial, place)
        _sync(place.parent)
    finally:
        partial.unlink(missing_ok=True)


def _write(checkpoint: Mapping[str, Any], file: BinaryIO, place: Path) -> None:
    """OSError naming the place where the disk does not take it."""
    try:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())
    except RuntimeError as error:  # torch's writer makes one of whatever the file raised
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        if "write" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place)) from error


def _keep(place: Path, other: Path) -> None:
    """The file under a second name as well; at no time is there none under the first."""
    link = other.with_name(f"{other.name}.partial")
    link.unlink(missing_ok=True)
    try:
        os.link(place, link)
    except OSError:  # a file system without links: for a moment only the other name is there
        os.replace(place, other)
        return
    try:
        os.replace(link, other)
    finally:
        link.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """New names reach the disk too, where folders can be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint of a run's folder that can be gone on with, None where none was ever written.

    A broken one is told of in a warning, and the one before it taken. UserError where all are broken.
    """
    found = [path for path in (folder / LAST, folder / PREVIOUS) if path.is_file()]
    for path in found:
        fault = fault_of(path)
        if fault is None:
            return path
        log.warning("%s can't be gone on with: %s", path, fault)
    if found:
        raise UserError(f"{folder}: no checkpoint is whole; start the run anew in another folder")
    return None


def fault_of(path: Path) -> str | None:
    """What is wrong with a checkpoint file, by the checksums it carries; None for a whole one."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        return f"it is cut or damaged ({error})"
    return None if broken is None else f"it is damaged in {broken}"


def steps_in(path: Path) -> int:
    """How many optimiser steps a checkpoint has behind it."""
    return int(torch.load(path, map_location="meta", weights_only=True, mmap=True)["global_step"])


def remove_partials(folder: Path) -> None:
    """Takes away what a killed process was about to write."""
    for path in folder.glob("*.partial"):
        path.unlink(missing_ok=True)
