"""Long work that is kept line by line, so that the same command goes on where a killed one stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from glipv2.errors import UserError
from glipv2.runs import write_json


def begun_before(words: Path, wanted: Mapping[str, Any], kept: Path) -> bool:
    """Whether work was begun with these words, which stand in a file; else they are written there.

    kept: what a user has to remove to begin anew. UserError when it was begun with others.
    """
    if not words.is_file():
        write_json(words, dict(wanted))
        return False
    earlier = json.loads(words.read_text("utf-8"))
    other = [key for key, value in wanted.items() if earlier.get(key) != value]
    if other:
        beside = "" if kept in (words, words.parent) else f" and {words.name}"
        raise UserError(f"{kept} was begun with another {', '.join(other)}; remove it{beside} to begin anew")
    return True


class LineFile:
    """A file of JSON lines that grows batch by batch, each on the disk before the next begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep_whole(self, multiple: int = 1) -> int:
        """Cuts off a line that was not finished, and whole ones beyond a multiple; how many remain."""
        whole = self.path.read_bytes().splitlines(keepends=True) if self.path.is_file() else []
        complete = sum(line.endswith(b"\n") for line in whole) // multiple * multiple
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"".join(whole[:complete]))
        return complete

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Appends a batch, and waits until it is on the disk."""
        with self.path.open("a", encoding="utf-8", errors="surrogatepass") as file:  # names that are no UTF-8
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> Iterator[dict[str, Any]]:
        """Every line."""
        with self.path.open(encoding="utf-8", errors="surrogatepass") as file:
            yield from map(json.loads, file)
