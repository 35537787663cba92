"""Packing: shards are written one after the other, whole or not at all; the same work ends with the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch.utils.data import DataLoader, Subset

from glipv2.data.shards.layout import INDEX, ROW, PackIndex, Shard, SplitIndex
from glipv2.data.shards.source import Piece, Pieces, ViewSource
from glipv2.errors import UserError

Place = tuple[int, ...]  # a ROW but for the shard's number, after the number of the sample in its view


@dataclass(frozen=True)
class PackConfig:
    """shard_bytes: at which size a shard is closed; workers: processes that read; on_error: "raise" or "skip"."""

    shard_bytes: int = 128 * 2**20
    workers: int = 1
    on_error: str = "raise"


@dataclass
class Note:
    """What is known of a finished shard: where the next begins, and where the samples of each view stand.

    shard: None where all pictures from here to the end are broken.
    """

    shard: Shard | None
    next: int
    rows: dict[str, list[Place]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


class Work:
    """Unfinished work beside the output: finished shards, a note on each, and the words with which it was begun."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(f"{out.name}.packing")
        self.whole = self.folder / "whole"

    def begin(self, words: Mapping[str, Any]) -> None:
        """UserError for work that was begun with other words, and for an output that is there."""
        if self.out.exists():
            if not self.whole.exists():  # it was moved away, and nothing came after
                shutil.rmtree(self.folder, ignore_errors=True)
            raise UserError(f"{self.out} is there already; remove it or give another with -o")
        begun = self.folder / "words.json"
        if begun.is_file():
            earlier = json.loads(begun.read_text("utf-8"))
            other = sorted(key for key in {*words, *earlier} if earlier.get(key) != words.get(key))
            if other:
                raise UserError(
                    f"{self.folder} was begun with another {', '.join(other)}; remove it to begin anew, "
                    "or give the same words to go on"
                )
        self.whole.mkdir(parents=True, exist_ok=True)
        _write(begun, json.dumps(words, indent=1, sort_keys=True).encode())

    def notes(self, split: str) -> list[Note]:
        """Of the shards that are done, in order."""
        found: list[Note] = []
        while (path := self._note(split, len(found))).is_file():
            content = json.loads(path.read_bytes())
            shard = Shard(**content.pop("shard")) if content["shard"] else content.pop("shard")
            found.append(Note(shard, **content))
        return found

    def add(self, split: str, number: int, note: Note) -> None:
        """After its shard, which without a note is written again."""
        _write(self._note(split, number), json.dumps(asdict(note)).encode())

    def finish(self) -> None:
        """The output appears, whole."""
        os.replace(self.whole, self.out)
        shutil.rmtree(self.folder)

    def _note(self, split: str, number: int) -> Path:
        return self.folder / f"{split}-{number:06d}.json"


Progress = Callable[[int, int], None]  # (pictures done, of all) of a split


def pack(
    sources: Mapping[str, Sequence[ViewSource]], out: Path, config: PackConfig, words: Mapping[str, Any],
    progress: Callable[[str, int, int], None] = lambda split, done, total: None,
) -> PackIndex:  # fmt: skip
    """Writes every split into the new folder `out`, which appears when all is done; gives its index.

    words: what decides on the result; work that was begun with the same is gone on with. progress: is told a split,
    how many of its pictures are done, and how many there are. UserError for a broken picture, unless these are
    skipped, and for an output that is there.
    """
    work = Work(out)
    work.begin({**words, "shard_bytes": config.shard_bytes, "on_error": config.on_error})
    splits = {name: _split(work, name, views, config, progress) for name, views in sources.items()}
    index = PackIndex(splits)
    _write(work.whole / INDEX, index.to_bytes())
    work.finish()
    return index


def _split(
    work: Work, split: str, views: Sequence[ViewSource], config: PackConfig,
    progress: Callable[[str, int, int], None],
) -> SplitIndex:  # fmt: skip
    pieces, notes = Pieces(views), work.notes(split)
    done = notes[-1].next if notes else 0
    rest = DataLoader(
        Subset(pieces, range(done, len(pieces))),
        batch_size=None,
        num_workers=config.workers if done < len(pieces) else 0,
    )
    stream = enumerate(rest, start=done)
    while done < len(pieces):
        note = _shard(work.whole / f"{split}-{len(notes):06d}.tar", stream, views, config, len(pieces))
        work.add(split, len(notes), note)
        notes.append(note)
        done = note.next
        progress(split, done, len(pieces))
    return _indexed(work.whole, split, views, notes)


def _shard(
    path: Path, stream: Iterator[tuple[int, Piece]], views: Sequence[ViewSource], config: PackConfig, total: int
) -> Note:
    """Takes pictures until the shard is full."""
    note = Note(None, total)
    members: list[tuple[Piece, str, tuple[str, ...]]] = []
    with _Archive(path) as archive:
        for number, piece in stream:
            if piece.problem:
                if config.on_error == "raise":
                    raise UserError(f"{piece.problem}; data.on_error=skip leaves it out")
                note.left_out.append(Path(piece.name).name)
                continue
            key = f"{number:09d}"
            files = archive.add(key, piece, [view.name for view in views])
            members.append((piece, *files))
            if archive.size >= config.shard_bytes:
                note.next = number + 1
                break
    if members:
        note.shard = Shard(path.name, archive.bytes, archive.sha256, len(members))
        note.rows = _places(path, members, views)
    else:
        path.unlink()
    return note


class _Archive:
    """A tar file that appears under its name when it is whole; `bytes` and `sha256` are then known."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._partial = path.with_name(f"{path.name}.partial")

    def __enter__(self) -> _Archive:
        self._file = _Hashed(self._partial.open("wb"))
        self._tar = _tar_writer()(self._file, user="", group="", mtime=0, encoder=False, compress=False)
        return self

    def add(self, key: str, piece: Piece, views: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """Writes a picture and each different truth of it; gives the names of the members: that of each truth."""
        content: dict[str, Any] = {"__key__": key, piece.suffix[1:]: piece.picture}
        extensions: dict[bytes, str] = {}
        for view, _, truth in piece.truths:
            if truth not in extensions:
                own = f"{views[view]}.json"  # of a picture that a file lists twice there are several
                extensions[truth] = own if own not in content else f"{views[view]}.{len(content)}.json"
                content[extensions[truth]] = truth
        self.size += self._tar.write(content)
        return f"{key}{piece.suffix}", tuple(f"{key}.{extensions[truth]}" for _, _, truth in piece.truths)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._tar.close()
        self._file.settle()
        if error is not None:
            return  # what there is will be written over
        self.bytes, self.sha256 = self._file.count, self._file.digest.hexdigest()
        os.replace(self._partial, self.path)


def _tar_writer() -> Any:
    try:
        from webdataset import TarWriter
    except ImportError as error:
        raise UserError(f'packing needs webdataset ({error}): pip install "glipv2[shards]"') from error
    return TarWriter


class _Hashed:
    """A file that digests what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest, self.count = file, hashlib.sha256(), 0

    def write(self, content: bytes) -> int:
        """As of a file."""
        self.digest.update(content)
        self.count += len(content)
        return self.file.write(content)

    def settle(self) -> None:
        """Waits until it is on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


def _places(
    path: Path, members: Sequence[tuple[Piece, str, tuple[str, ...]]], views: Sequence[ViewSource]
) -> dict[str, list[Place]]:
    """Where the samples of each view stand, as the archive itself says."""
    with tarfile.open(path) as archive:
        offsets = {member.name: member.offset_data for member in archive}
    rows: dict[str, list[Place]] = {view.name: [] for view in views}
    for piece, picture, truths in members:
        first = (offsets[picture], len(piece.picture), zlib.crc32(piece.picture))
        for name, (view, row, truth) in zip(truths, piece.truths, strict=True):
            rows[views[view].name].append((row, *first, offsets[name], len(truth), zlib.crc32(truth)))
    return rows


def _indexed(folder: Path, split: str, views: Sequence[ViewSource], notes: Sequence[Note]) -> SplitIndex:
    """Writes the rows of every view, in its own order."""
    shards = [note for note in notes if note.shard is not None]
    found = []
    for view in views:
        every = sorted(
            (place[0], (number, *place[1:])) for number, note in enumerate(shards) for place in note.rows[view.name]
        )
        if not every:
            raise UserError(f"{split}: none of the pictures with {' and '.join(sorted(view.needs))} can be read")
        name = f"{split}.{view.name}.rows"
        _write(folder / name, np.array([row for _, row in every], dtype=ROW).tobytes())
        found.append(view.view(name, len(every)))
    left_out = tuple(name for note in notes for name in note.left_out)
    return SplitIndex(tuple(note.shard for note in shards if note.shard), tuple(found), left_out)


def _write(path: Path, content: bytes) -> None:
    """A file that is whole or not there."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
