"""What is packed: the pictures of a split, each once, with what every need of a task says of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import Dataset

from glipv2.data.dataset import SampleDataset
from glipv2.data.images import SUFFIXES, read_described
from glipv2.data.joined import JoinedDataset
from glipv2.data.shards.layout import View
from glipv2.data.shards.records import to_bytes
from glipv2.data.truths import DescribedImages, truth_of
from glipv2.errors import UserError


@dataclass(frozen=True)
class ViewSource:
    """Samples for a need; holds: what they hold besides."""

    needs: frozenset[str]
    samples: SampleDataset
    holds: frozenset[str]

    @property
    def name(self) -> str:
        """As in file names."""
        return "-".join(sorted(self.needs))

    def view(self, rows: str, count: int) -> View:
        """As the index describes it."""
        samples = self.samples
        counts = samples.answer_counts if isinstance(samples, JoinedDataset) else ()
        return View(
            tuple(sorted(self.needs)), tuple(sorted(self.holds)), rows, count, samples.vocabulary.names,
            samples.vocabulary.category_ids, tuple(samples.scored_names), () if counts else tuple(samples.answers),
            counts,
        )  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """A picture's bytes, and of each view that has it: the view's place, the sample's number there, its line of JSON.

    problem: why it can't be read, "" where it can.
    """

    name: str
    suffix: str = ""
    picture: bytes = b""
    truths: tuple[tuple[int, int, bytes], ...] = ()
    problem: str = ""


class Pieces(Dataset[Piece]):
    """The pictures in the order in which the views meet them first. Files are kept as they are; scenes become PNG.

    Every picture is decoded once, in the frame of what is said of it, so that none is packed that can't be read.
    """

    def __init__(self, views: Sequence[ViewSource]) -> None:
        self.views = views
        found: dict[str, list[tuple[int, int]]] = {}
        for place, view in enumerate(views):
            for row in range(len(view.samples)):
                found.setdefault(_picture(view.samples, row), []).append((place, row))
        self._names = list(found)
        self._rows = list(found.values())

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> Piece:
        rows = self._rows[number]
        torch.set_num_threads(1)
        try:
            place, row = rows[0]
            described = _described(self.views[place].samples, row)
            return self._scene(rows) if described is None else self._file(number, rows)
        except UserError as error:
            return Piece(self._names[number], problem=str(error))

    def _file(self, number: int, rows: Sequence[tuple[int, int]]) -> Piece:
        path = Path(self._names[number])
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"image {path} can't be read ({error.strerror}); copy it again or remove it") from error
        truths, seen = [], set()
        for place, row in rows:
            samples = self.views[place].samples
            truth = samples.truth(row)
            if truth.image_size not in seen:
                images, own = _described(samples, row) or (None, row)
                read_described(path, truth.image_size, images.described_by(own) if images else path, content)
                seen.add(truth.image_size)
            truths.append((place, row, to_bytes(truth)))
        suffix = path.suffix.lower() if path.suffix.lower() in SUFFIXES else ".bin"
        return Piece(self._names[number], suffix, content, tuple(truths))

    def _scene(self, rows: Sequence[tuple[int, int]]) -> Piece:
        samples = [(place, row, self.views[place].samples[row]) for place, row in rows]
        file = io.BytesIO()
        Image.fromarray(samples[0][2].image.permute(1, 2, 0).numpy()).save(file, "PNG")
        truths = tuple((place, row, to_bytes(truth_of(sample))) for place, row, sample in samples)
        return Piece(samples[0][2].name, ".png", file.getvalue(), truths)


SplitSource = Mapping[str, Sequence[ViewSource]]


def _described(samples: SampleDataset, row: int) -> tuple[DescribedImages, int] | None:
    """The reader of the picture's file and its number there, None where there is no file."""
    if isinstance(samples, JoinedDataset):
        images = samples.images
        return (images, samples.source_row(row)) if isinstance(images, DescribedImages) else None
    return (samples, row) if isinstance(samples, DescribedImages) else None


def _picture(samples: SampleDataset, row: int) -> str:
    """The same for the same picture in all views: its path, or its name where it is made."""
    found = _described(samples, row)
    return str(found[0].folder / found[0].name_of(found[1])) if found else samples.truth(row).name
