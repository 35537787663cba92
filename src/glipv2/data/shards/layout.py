"""What a folder of shards holds, as its index.json says.

index.json                 the splits: their shards, and what each need of a task finds in them
train-000000.tar, …        KEY.jpg and KEY.NEEDS.json of each picture, readable by any tool for WebDataset
train.boxes.rows, …        where the samples of a need stand in the shards, in the order of the source
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glipv2.errors import UserError
from glipv2.structures import Vocabulary

INDEX = "index.json"
FORMAT = "glipv2 shards"
VERSION = 1
ROW = np.dtype(
    [
        ("shard", "<u4"),
        *((f"{part}_{what}", kind) for part in ("picture", "truth") for what, kind in
          (("offset", "<u8"), ("bytes", "<u4"), ("crc", "<u4"))),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """An archive: its name, and by what a whole copy of it is known."""

    file: str
    bytes: int
    sha256: str
    pictures: int


@dataclass(frozen=True)
class View:
    """The samples that hold all of `needs`. rows: the file of `ROW`s, `count` of them.

    holds: what they hold besides. answer_counts: all that questions were answered with, the most frequent first, and
    to how many questions each is right, () where `answers` are fixed.
    """

    needs: tuple[str, ...]
    holds: tuple[str, ...]
    rows: str
    count: int
    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    scored_names: tuple[str, ...]
    answers: tuple[str, ...] = ()
    answer_counts: tuple[tuple[str, int], ...] = ()

    @property
    def vocabulary(self) -> Vocabulary:
        """Of its labels."""
        return Vocabulary(self.names, self.category_ids)


@dataclass(frozen=True)
class SplitIndex:
    """The shards of a split, the views on them, and the names of pictures that were left out as broken."""

    shards: tuple[Shard, ...]
    views: tuple[View, ...]
    left_out: tuple[str, ...] = ()

    def view(self, needs: frozenset[str]) -> View | None:
        """That of exactly these needs, else the smallest that holds them all, None where none does."""
        exact = [view for view in self.views if set(view.needs) == needs]
        wider = sorted((view for view in self.views if needs <= set(view.needs)), key=lambda view: len(view.needs))
        return next(iter([*exact, *wider]), None)


@dataclass(frozen=True)
class PackIndex:
    """The content of index.json."""

    splits: Mapping[str, SplitIndex] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The file."""
        content = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}
        return (json.dumps(content, indent=1) + "\n").encode()


def is_index(content: Any) -> bool:
    """Whether a JSON value is the content of such a file."""
    return isinstance(content, dict) and content.get("format") == FORMAT


def read_index(content: bytes, where: str) -> PackIndex:
    """UserError for what is no index, or one of another version."""
    try:
        found = json.loads(content)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}); copy it again, or pack anew") from None
    if not is_index(found):
        raise UserError(f"{where} is no index of shards; expected the {INDEX} that glipv2 data pack writes")
    if found.get("version") != VERSION:
        raise UserError(f"{where} has version {found.get('version')}, this glipv2 reads {VERSION}; pack anew")
    try:
        return PackIndex({name: _split(own) for name, own in found["splits"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where} lacks a field ({error}); copy it again, or pack anew") from None


def _split(record: Mapping[str, Any]) -> SplitIndex:
    shards = tuple(Shard(**own) for own in record["shards"])
    views = tuple(View(**{key: _tuples(value) for key, value in own.items()}) for own in record["views"])
    return SplitIndex(shards, views, tuple(record["left_out"]))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
