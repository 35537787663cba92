"""Samples read from shards, by number: what packing took them from gave the same."""

from __future__ import annotations

import hashlib
import logging
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from glipv2.data.answers import chosen_answers
from glipv2.data.images import read_described, to_tensor
from glipv2.data.joined import AnswerChoice
from glipv2.data.shards.files import DamagedError, ShardFiles, UnreadableError
from glipv2.data.shards.layout import INDEX, ROW, PackIndex, SplitIndex, View, read_index
from glipv2.data.shards.order import WINDOW, shuffled
from glipv2.data.shards.records import from_bytes
from glipv2.data.truths import sample_of
from glipv2.errors import UserError
from glipv2.structures import ImageTruth, Sample

log = logging.getLogger(__name__)


class ShardError(UserError):
    """A shard that can't be read. known: it has been told before."""

    def __init__(self, message: str, known: bool) -> None:
        super().__init__(message)
        self.known = known


class PackedSamples(Dataset[Sample]):
    """The samples of a split that hold all of `needs`, in the order of their source.

    window: how many shards' samples a training mixes at a time, 0 = all (`order` gives permutations for that).
    answers: which of them questions are taught with, None = none (or those that the pack fixes). A shard that can't
    be read after all tries is marked in `failed` bool [shards], which loader processes share, and is not tried again.
    UserError for what is no pack, a split or needs that it lacks.
    """

    def __init__(
        self, files: ShardFiles, split: str, needs: frozenset[str], answers: AnswerChoice | None = None,
        window: int = WINDOW,
    ) -> None:  # fmt: skip
        self.files, self.window = files, window
        self.view, self.shards = find_view(open_index(files), files, split, needs)
        self.vocabulary, self.scored_names = self.view.vocabulary, self.view.scored_names
        self.answers = _answers(self.view, answers, files.base)
        self._rows = _rows(files, self.view)
        self.failed = torch.zeros(len(self.shards.shards), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self._rows)

    def order(self, seed: int) -> Tensor:
        """In which order a pass over them reads few shards at a time; see `shuffled`."""
        return torch.from_numpy(shuffled(self._rows["shard"].astype(np.int64), seed, self.window))

    def picture_key(self, index: int) -> tuple[str, str]:
        """What tells a sample's picture from others, without reading its shard."""
        row = self._rows[index]
        return self.files.base, f"{self.shards.shards[row['shard']].file}@{row['picture_offset']}"

    def fingerprint(self) -> str:
        """A hash of where every sample stands and of its bytes' checksums, without reading a shard."""
        return hashlib.sha256(self._rows.tobytes()).hexdigest()

    @property
    def failed_places(self) -> tuple[str, ...]:
        """The shards that can't be read, of those that were asked for."""
        return tuple(self.files.place(self.shards.shards[one].file) for one in self.failed.nonzero().flatten().tolist())

    def truth(self, index: int) -> ImageTruth:
        """All of a sample but its picture."""
        return from_bytes(self._part(index, "truth"))

    def __getitem__(self, index: int) -> Sample:
        truth = self.truth(index)
        place = Path(f"{self.files.base}/{truth.name}")
        picture = read_described(place, truth.image_size, self.files.base, self._part(index, "picture"))
        return sample_of(to_tensor(picture), truth)

    def _part(self, index: int, part: str) -> bytes:
        row = self._rows[range(len(self))[index]]
        shard = self.shards.shards[row["shard"]]
        place = self.files.place(shard.file)
        remedy = "copy it again, or leave what can't be read out with data.on_error=skip"
        if self.failed[row["shard"]]:
            raise ShardError(f"shard {place} could not be read", known=True)
        try:
            offset, length, crc = (int(row[f"{part}_{what}"]) for what in ("offset", "bytes", "crc"))
            return self.files.part(shard, offset, length, crc, zlib.crc32)
        except DamagedError as error:
            raise UserError(f"{part} of sample {index} of {place}: {error}; {remedy}") from error
        except UnreadableError as error:
            known = bool(self.failed[row["shard"]])
            self.failed[row["shard"]] = True
            raise ShardError(f"shard {place} can't be read: {error}; {remedy}", known) from error


def open_index(files: ShardFiles) -> PackIndex:
    """UserError where there is none, or none that this version reads."""
    try:
        return read_index(files.read(INDEX), files.place(INDEX))
    except UnreadableError as error:
        raise UserError(f"{files.place(INDEX)} can't be read ({error}); give what glipv2 data pack wrote") from error


def find_view(index: PackIndex, files: ShardFiles, split: str, needs: frozenset[str]) -> tuple[View, SplitIndex]:
    """What a split has for these needs; UserError where it lacks them."""
    if split not in index.splits:
        known = ", ".join(index.splits) or "none"
        raise UserError(f"{files.base} has no split '{split}', only {known}; set data.{split}.path, or pack it")
    own = index.splits[split]
    view = own.view(needs)
    if view is None:
        kept = "; ".join(" and ".join(one.needs) for one in own.views)
        raise UserError(
            f"{files.base}: '{split}' was packed without {' and '.join(sorted(needs))} (it has: {kept}); "
            "pack its source anew, or choose another task="
        )
    return view, own


def _rows(files: ShardFiles, view: View) -> npt.NDArray[np.void]:
    place = files.place(view.rows)
    try:
        content = files.read(view.rows)
    except UnreadableError as error:
        raise UserError(f"{place} can't be read ({error}); copy it again, or pack anew") from error
    if len(content) != view.count * ROW.itemsize:
        raise UserError(f"{place} has {len(content)} bytes, expected {view.count * ROW.itemsize}; copy it again")
    return np.frombuffer(content, dtype=ROW)


def _answers(view: View, choice: AnswerChoice | None, where: str) -> tuple[str, ...]:
    if not view.answer_counts:
        return view.answers
    if choice is None:
        return ()
    found = chosen_answers(view.answer_counts, choice.most, choice.min_count)
    if not found:
        raise UserError(
            f"{where}: none of the answers is right for {choice.min_count} questions; "
            "a small set needs data.answer_min_count=1"
        )
    return found
