"""What every writer works with: a split to write, the account of what is lost, and pictures beside the labels."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import torch

from glipv2.data.image_ids import ids_of
from glipv2.errors import UserError
from glipv2.structures import ImageTruth, Vocabulary

MOVED = "boxes (moved by rounding)"  # of a layout whose numbers can't say every box


class Described(Protocol):
    """What is written: see `DescribedImages`."""

    @property
    def folder(self) -> Path: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    def __len__(self) -> int: ...

    def truth(self, index: int, /) -> ImageTruth: ...

    def name_of(self, index: int, /) -> str: ...


@dataclass
class Written:
    """A split on its way to a folder. lost: how many of what the layout can't hold; files: those written."""

    samples: Described
    split: str
    out: Path
    copy: bool = False
    lost: Counter[str] = field(default_factory=Counter)
    files: list[Path] = field(default_factory=list)

    def truths(self) -> Iterator[ImageTruth]:
        """In order; may be gone through several times."""
        return (self.samples.truth(index) for index in range(len(self.samples)))

    def check_names(self, folder: str, suffix: str, layout: str) -> None:
        """UserError, before anything is written, for a picture outside of its folder, or two of one file of labels.

        folder, suffix: of the files of labels below the output, which are named as the pictures are.
        """
        stems = set[str]()
        for index in range(len(self.samples)):
            name = PurePosixPath(self.samples.name_of(index))
            if name.is_absolute() or ".." in name.parts:
                raise UserError(f"'{name}' lies outside of the pictures' folder {self.samples.folder}; move it there")
            stem = str(name.with_suffix(""))
            if stem in stems or (self.out / folder / f"{stem}{suffix}").exists():
                raise UserError(f"two images are named '{stem}', and {layout} has one file a name; rename one of them")
            stems.add(stem)

    def write(self, name: str, text: Iterable[str]) -> None:
        """A file below the folder."""
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.writelines(text)
        self.files.append(path)

    def add_picture(self, name: str, folder: str) -> None:
        """The picture's file, as a link or a copy below a folder of the output."""
        source, target = (self.samples.folder / name).resolve(), self.out / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.copy:
            shutil.copyfile(source, target)
            return
        try:
            os.symlink(os.path.relpath(source, target.parent.resolve()), target)
        except (OSError, NotImplementedError) as error:
            raise UserError(f"{target}: a link can't be made here ({error}); copy the pictures with --copy") from None

    def lose_areas_and_masks(self, truth: ImageTruth) -> None:
        """Of a layout whose objects are boxes alone."""
        sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
        rounding = sides.sum(dim=1) * torch.finfo(torch.float32).eps * 2 * max(truth.image_size)
        self.lost["areas (taken to be the boxes')"] += int(((sides.prod(dim=1) - truth.areas).abs() > rounding).sum())
        self.lost["masks"] += 0 if truth.masks is None else len(truth.masks)

    def lose_image_ids(self) -> None:
        """Of a layout whose images are known by their names."""
        own = [(truth.name, truth.image_id) for truth in self.truths()]
        kept = ids_of([name for name, _ in own])
        changed = sum(number != identity for number, (_, identity) in zip(kept, own, strict=True))
        self.lost["ids of images (taken from their names, or counted)"] += changed

    def lose_category_ids(self, first: int) -> None:
        """Of a layout whose classes are counted from `first`."""
        ids = self.samples.vocabulary.category_ids
        changed = sum(identity != number for number, identity in enumerate(ids, start=first))
        self.lost[f"ids of categories (counted from {first})"] += changed


def as_json(value: Any) -> str:
    """One line."""
    return json.dumps(value, ensure_ascii=False)


def json_lists(lists: Mapping[str, Iterable[Any]]) -> Iterator[str]:
    """An object of lists, a record a line, without holding them in memory."""
    for place, (key, records) in enumerate(lists.items()):
        yield ("{" if place == 0 else ",\n") + as_json(key) + ": ["
        for index, record in enumerate(records):
            yield (",\n" if index else "\n") + as_json(record)
        yield "]"
    yield "}\n"
