"""Images with texts of other files, joined by image id."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from glipv2.data.answers import commonest_answers, counted_answers, plain
from glipv2.data.coco import read_images
from glipv2.data.dataset import SampleDataset
from glipv2.data.faults import Faults, check_folder
from glipv2.data.image_ids import number_of
from glipv2.data.images import SUFFIXES, image_size
from glipv2.data.packed import PackedRows, packed
from glipv2.data.questions import AskedRow
from glipv2.data.truths import DescribedImages, described
from glipv2.errors import UserError
from glipv2.structures import Caption, ImageTruth, Instances, Question, Sample, Vocabulary

logger = logging.getLogger(__name__)

UNNAMED = Vocabulary(("object",))  # of images without boxes, which have no classes


@dataclass(frozen=True)
class AnswerChoice:
    """The answers that questions are taught with: at most so many, each right for at least so many questions."""

    most: int
    min_count: int


class NumberedSamples(SampleDataset, Protocol):
    """Samples whose images' ids are known without reading them. dropped: ids of images with faulty records."""

    @property
    def image_ids(self) -> Sequence[int]: ...

    @property
    def dropped(self) -> frozenset[int | str]: ...


class ImageFiles(DescribedImages):
    """Images without boxes: those that `records` (COCO's 'images') describe, or all of a folder.

    In a folder an image's id is the number at the end of its name, as in COCO's files; images without one
    are left out. UserError where two have the same.
    """

    scored_names: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    vocabulary = UNNAMED

    def __init__(
        self, folder: Path, *, records: Sequence[Any] | None = None, source: Path | None = None, on_error: str = "raise"
    ) -> None:
        check_folder(folder)
        self.folder = folder
        self.source = folder if source is None else source
        self.dropped: frozenset[int | str] = frozenset()
        self._sizes: npt.NDArray[np.int64] | None = None
        if records is None:
            self._ids, self._names = _numbered_files(folder)
        else:
            faults = Faults(self.source)
            found = read_images(records, folder, faults)
            faults.settle(on_error)
            self._ids, self._names, self._sizes, self.dropped = found.ids, found.names, found.sizes, found.dropped
        if not len(self):
            raise UserError(f"{self.source}: no image to read; expected records in 'images', or files named by number")

    @classmethod
    def named(cls, folder: Path, names: Mapping[int, str], source: Path) -> ImageFiles:
        """Those of the names, by id, that a file gives without their sizes."""
        found = cls.__new__(cls)
        found.folder, found.source, found.dropped, found._sizes = folder, source, frozenset(), None
        found._ids, found._names = np.array(list(names), np.int64), np.array(list(names.values()), np.str_)
        return found

    @property
    def image_ids(self) -> Sequence[int]:
        """In order."""
        return self._ids.tolist()  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return len(self._ids)

    def truth(self, index: int) -> ImageTruth:
        """See `DescribedImages`; the size is that of the records, else of the upright picture."""
        index = range(len(self))[index]
        name = str(self._names[index])
        height, width = image_size(self.folder / name) if self._sizes is None else self._sizes[index].tolist()
        return described(int(self._ids[index]), name, (height, width), Instances.empty())

    def name_of(self, index: int) -> str:
        """See `DescribedImages`; no file is opened."""
        return str(self._names[index])

    def described_by(self, index: int) -> Path:
        """The file of the records, or the folder."""
        return self.source


def _numbered_files(folder: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    found: dict[int, str] = {}
    for path in sorted(folder.iterdir()):
        number = number_of(path.name) if path.suffix.lower() in SUFFIXES else None
        if number is None:
            continue
        other = found.setdefault(number, path.name)
        if other != path.name:
            raise UserError(
                f"{folder}: {other} and {path.name} have the same number; give a file that lists the images"
            )
    return np.array(list(found), np.int64), np.array(list(found.values()), np.str_)


class JoinedDataset(Dataset[Sample]):
    """Those of the images that have all of the texts asked for; the others are counted in a log line.

    captions, questions: by image id; they replace what the images bring themselves. answers: None where nothing
    is taught. where: what the images are, for messages. `answer_counts`: every answer from which `answers` are chosen,
    the most frequent first, and to how many questions it is right.
    """

    def __init__(
        self,
        images: NumberedSamples,
        *,
        captions: Mapping[int, Sequence[str]] | None = None,
        questions: Mapping[int, Sequence[AskedRow]] | None = None,
        answers: AnswerChoice | None = None,
        where: str = "data",
    ) -> None:
        self.images = images
        parts = {"captions": captions, "questions": questions}
        kept = list(enumerate(images.image_ids))
        for name, texts in parts.items():
            if texts is not None:
                kept = _having(texts, name, kept, len(images), where)
        self._rows = np.array([row for row, _ in kept], np.int64)
        own = [identity for _, identity in kept]
        self._captions = None if captions is None else PackedRows(packed(list(captions[one])) for one in own)
        self._questions = None if questions is None else PackedRows(packed(_bare(questions[one])) for one in own)
        self.answers: tuple[str, ...] = ()
        self.answer_counts: tuple[tuple[str, int], ...] = ()
        if questions is not None and answers is not None:
            commonest = [row.commonest for one in own for row in questions[one]]
            self.answer_counts = counted_answers(commonest)
            self.answers = _vocabulary_of(commonest, answers, where)

    @property
    def vocabulary(self) -> Vocabulary:
        """That of the images."""
        return self.images.vocabulary

    @property
    def scored_names(self) -> tuple[str, ...]:
        """Those of the images."""
        return self.images.scored_names

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        return replace(self.images[int(self._rows[index])], **self._texts(index))

    def truth(self, index: int) -> ImageTruth:
        """That of the image, with the texts joined to it."""
        index = range(len(self))[index]
        return replace(self.images.truth(int(self._rows[index])), **self._texts(index))

    def source_row(self, index: int) -> int:
        """Which of the images a sample is of."""
        return int(self._rows[index])

    def _texts(self, index: int) -> dict[str, Any]:
        """The fields that replace those of the images."""
        texts: dict[str, Any] = {}
        if self._captions is not None:
            texts["captions"] = tuple(map(Caption, self._captions[index]))
        if self._questions is not None:
            texts["questions"] = tuple(_question(AskedRow(*row)) for row in self._questions[index])
        return texts


def _having(
    texts: Mapping[int, Any], name: str, kept: list[tuple[int, int]], total: int, where: str
) -> list[tuple[int, int]]:
    having = [(row, identity) for row, identity in kept if identity in texts]
    count = sum(len(texts[identity]) for _, identity in having)
    logger.info("%s: %d of %d images have %s, %d in all", where, len(having), total, name, count)
    if not having:
        raise UserError(f"{where}: none of the {total} images has {name}; check that the files' image ids fit together")
    return having


def _bare(questions: Sequence[AskedRow]) -> list[tuple[Any, ...]]:
    return [tuple(row)[:-1] for row in questions]  # the commonest answer has been counted


def _question(row: AskedRow) -> Question:
    return Question(row.text, row.answers, kind=row.kind, question_id=row.question_id, answer_kind=row.answer_kind)


def _vocabulary_of(commonest: Sequence[str], choice: AnswerChoice, where: str) -> tuple[str, ...]:
    """The answers; says how many questions they cover."""
    names = commonest_answers(commonest, choice.most, choice.min_count)
    if not names:
        raise UserError(
            f"{where}: none of the answers is right for {choice.min_count} of the {len(commonest)} questions; "
            f"a small set needs data.answer_min_count=1"
        )
    forms, every = {plain(name) for name in names}, {plain(answer) for answer in commonest}
    covered = sum(plain(answer) in forms for answer in commonest)
    logger.info(
        "%s: learns %d of %d different answers, right for %d of %d questions (data.answer_min_count=%d)",
        where, len(names), len(every), covered, len(commonest), choice.min_count,
    )  # fmt: skip
    return names
