"""The files of a pack, on a disk or behind an address; what fails is tried again, and shards are fetched whole."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from glipv2.data.shards.layout import Shard
from glipv2.errors import UserError

log = logging.getLogger(__name__)
Result = TypeVar("Result")

GIB = 2**30
OPEN_FILES = 64  # descriptors that a process keeps; a thousand is the usual limit of a process


@dataclass
class ReadingConfig:
    """How shards are read.

    retries: how often a failed read is tried again, after `pause` seconds, each time twice as long. cache: where
    shards behind an address are kept (default: the user's cache); cache_gib: how much of them, 0 = all.
    """

    retries: int = 3
    pause: float = 0.5
    cache: str | None = None
    cache_gib: float = 0.0

    def check(self) -> None:
        """UserError for numbers out of range."""
        if self.retries < 0 or self.pause < 0 or self.cache_gib < 0:
            told = f"{self.retries}, {self.pause} and {self.cache_gib}"
            raise UserError(f"data.reading: expected retries, pause and cache_gib of at least 0, but got {told}")


class UnreadableError(Exception):
    """A file that could not be read after all tries; its argument says why."""


class DamagedError(Exception):
    """Bytes that are not those that were packed."""


class ShardFiles:
    """The files of one pack. base: a folder, or an address that fsspec opens (https://, s3://, …)."""

    def __init__(self, base: str, config: ReadingConfig) -> None:
        config.check()
        self.base, self.config = base.rstrip("/"), config
        self.remote = "://" in base
        self._open: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # descriptors are this process's own

    def place(self, name: str) -> str:
        """Where a file is, for messages."""
        return f"{self.base}/{name}"

    def read(self, name: str) -> bytes:
        """A whole file; UnreadableError."""
        return self._tried(name, lambda: self._whole(name))

    def part(self, shard: Shard, offset: int, length: int, crc: int, check: Callable[[bytes], int]) -> bytes:
        """Bytes of a shard. Raises UnreadableError, or DamagedError where they are read but are not those of `crc`."""

        def once() -> bytes:
            found = os.pread(self._descriptor(shard), length, offset)
            if len(found) != length:
                raise OSError(f"{len(found)} of {length} bytes at {offset}")
            if check(found) != crc:
                raise DamagedError(f"its {length} bytes at {offset} are not those that were packed")
            return found

        return self._tried(shard.file, once)

    def _whole(self, name: str) -> bytes:
        if not self.remote:
            return Path(self.base, name).read_bytes()
        with _fetching(self.place(name)) as file:
            content: bytes = file.read()
        return content

    def _tried(self, name: str, act: Callable[[], Result]) -> Result:
        """What `act` gives, in as many tries as are set; between them the file is opened, or fetched, anew."""
        for tries in range(self.config.retries + 1):
            try:
                return act()
            except DamagedError:
                if tries == self.config.retries:
                    raise
                self._forget(name)
            except Exception as error:  # the transports of fsspec raise families of their own
                if isinstance(error, FileNotFoundError) and not self.remote:
                    raise UnreadableError("there is no such file") from error
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                if tries == self.config.retries:
                    raise UnreadableError(f"{reason}; tried {tries + 1} times") from error
                log.warning("%s: %s; try %d of %d", self.place(name), reason, tries + 2, self.config.retries + 1)
                self._forget(name)
            time.sleep(self.config.pause * 2**tries)
        raise AssertionError("the last try returns or raises")

    def _descriptor(self, shard: Shard) -> int:
        found = self._open.get(shard.file)
        if found is None:
            path = self._fetched(shard) if self.remote else Path(self.base, shard.file)
            found = os.open(path, os.O_RDONLY)
            if os.fstat(found).st_size != shard.bytes:
                size = os.fstat(found).st_size
                os.close(found)
                raise OSError(f"has {size} bytes, expected {shard.bytes}")
            if len(self._open) >= OPEN_FILES:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[shard.file] = found
        return found

    def _forget(self, name: str) -> None:
        """The next try begins with the file as it then is."""
        descriptor = self._open.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)
        if self.remote:
            self._cached(name).unlink(missing_ok=True)

    # Shards behind an address

    def _cached(self, name: str) -> Path:
        return self._cache / name

    @property
    def _cache(self) -> Path:
        if self.config.cache:
            root = Path(self.config.cache).expanduser()
        else:
            root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "glipv2" / "shards"
        return root / hashlib.sha256(self.base.encode()).hexdigest()[:16]

    def _fetched(self, shard: Shard) -> Path:
        """The whole shard, fetched by the first process that needs it; the others wait for that one."""
        from filelock import FileLock

        path = self._cached(shard.file)
        if path.is_file() and path.stat().st_size == shard.bytes:
            path.touch()  # used now
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not (path.is_file() and path.stat().st_size == shard.bytes):
                self._make_room(shard.bytes)
                self._fetch(shard, path)
        return path

    def _fetch(self, shard: Shard, path: Path) -> None:
        partial, digest = path.with_name(f"{path.name}.partial"), hashlib.sha256()
        with _fetching(self.place(shard.file)) as file, partial.open("wb") as kept:
            while block := file.read(2**20):
                digest.update(block)
                kept.write(block)
        if digest.hexdigest() != shard.sha256:
            partial.unlink()
            raise OSError("what was fetched is not what was packed (sha256 differs)")
        os.replace(partial, path)

    def _make_room(self, wanted: int) -> None:
        """Removes the shards that have been unused longest where the cache is limited; open ones stay readable."""
        if not self.config.cache_gib:
            return
        kept = sorted((path for path in self._cache.glob("*.tar")), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in kept) + wanted
        for path in kept:
            if total <= self.config.cache_gib * GIB:
                break
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


def _fetching(address: str) -> Any:
    """A file behind an address, open for reading."""
    import fsspec

    try:
        return fsspec.open(address, "rb")
    except (ImportError, ValueError) as error:
        raise UserError(f"{address} can't be opened: {error}") from error
