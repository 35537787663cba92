"""A file or folder of data opened as training opens it, with every fault that its reader found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glipv2.checking.findings import CODE_OF_KIND, OTHER, Finding
from glipv2.data.auto import GIVES, Source
from glipv2.data.dataset import SampleDataset
from glipv2.data.faults import Fault, gathered
from glipv2.data.formats import Format, Recognised, recognise
from glipv2.data.images import SUFFIXES, image_paths, image_size
from glipv2.data.joined import UNNAMED, JoinedDataset
from glipv2.data.pictures import PictureJob
from glipv2.data.places import WORDS, split_of
from glipv2.data.truths import DescribedImages, described
from glipv2.errors import UserError
from glipv2.structures import ImageTruth, Instances

IMAGES_KEY = "--images"


@dataclass(frozen=True)
class Input:
    """What is to be checked: a split's name, its file or folder, and the folder of its images (None: look for it).

    known: what it was recognised as; own_split: the split's name there, "" for a file.
    """

    split: str
    path: Path
    images: Path | None = None
    known: Recognised | None = None
    own_split: str = ""


class LoosePictures(DescribedImages):
    """A picture, or those of a folder, of which nobody says anything."""

    vocabulary = UNNAMED
    scored_names: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.folder = path if path.is_dir() else path.parent
        self.names = [picture.name for picture in image_paths(str(path))]

    def __len__(self) -> int:
        return len(self.names)

    def truth(self, index: int) -> ImageTruth:
        """Its name and size."""
        name = self.names[index]
        return described(index, name, image_size(self.folder / name), Instances.empty())

    def described_by(self, index: int) -> Path:
        """The picture itself."""
        return self.folder / self.names[index]


@dataclass
class Opened:
    """samples: None where nothing is left; refusal: why then; faults: of its records, in the order of the file."""

    source: Input
    kind: str = "unknown"
    samples: SampleDataset | None = None
    refusal: str = ""
    faults: list[Fault] = field(default_factory=list)

    @property
    def file(self) -> str:
        """For messages."""
        return str(self.source.path)

    @property
    def unusable(self) -> bool:
        """Whether it is no data at all."""
        return self.samples is None and not self.faults

    def findings(self) -> Iterator[Finding]:
        """What the reader found."""
        for fault in self.faults:
            yield finding_of(fault)
        if self.refusal:
            yield Finding("E101" if self.unusable else "E102", self.file, "", _without(self.refusal, self.file))

    @property
    def images(self) -> DescribedImages | None:
        """The samples as pictures of a folder; None where nothing is left, or they come from no file."""
        images = self.samples.images if isinstance(self.samples, JoinedDataset) else self.samples
        return images if isinstance(images, DescribedImages) else None

    def picture(self, index: int, name: str, image_size: tuple[int, int]) -> PictureJob | None:
        """How to read the picture of a sample; None for samples that come from no file."""
        images = self.images
        return None if images is None else PictureJob(images.folder / name, image_size, images.described_by(index))


def finding_of(fault: Fault) -> Finding:
    """A reader's fault with its code."""
    code = CODE_OF_KIND.get(fault.kind, OTHER)
    what = _without(fault.detail, str(fault.path)) or f"{fault.count} records: {fault.kind}"
    return Finding(code, str(fault.path), fault.place, what, count=fault.count)


def open_input(source: Input) -> Opened:
    """Opens it leniently; whatever is wrong with it ends in the result, nothing is raised."""
    opened = Opened(source)
    with gathered(mended=True) as faults:
        try:
            opened.kind, opened.samples = _opened(source)
        except UserError as error:
            opened.refusal = " ".join(str(error).split())
    opened.faults = faults
    return opened


def find_inputs(path: Path, images: Path | None, split: str = "") -> list[Input]:
    """What a path holds, one input a split or file; a path of nothing known is one input, whose opening tells why.

    split: for the findings; default the file's own, or its name. Answers go with the questions beside them.
    """
    if path.suffix.lower() in SUFFIXES or (path.is_dir() and not _known(path) and _has_pictures(path)):
        return [Input(split or path.stem, path, images)]
    found = _known(path)
    if not found:
        return [Input(split or path.stem, path, images)]
    inputs = []
    for one in found:
        if one.splits:
            inputs += [Input(own, one.path, images, one, own) for own in one.splits if not _is_union(own, one.splits)]
        elif one.format is not Format.ANSWERS or len(found) == 1:
            inputs.append(Input(split or split_of(one.path) or one.path.stem, one.path, images, one))
    if split and len(inputs) > 1:
        fitting = [one for one in inputs if one.own_split in (split, *WORDS.get(split, ()))]
        return fitting or inputs
    return inputs


def _is_union(split: str, splits: Sequence[str]) -> bool:
    """Pascal VOC's trainval, which would be found to share its pictures with train and val."""
    return split == "trainval" and {"train", "val"} <= set(splits)


def _known(path: Path) -> list[Recognised]:
    try:
        return recognise(path)
    except UserError:
        return []


def _has_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _opened(source: Input) -> tuple[str, SampleDataset]:
    if source.path.suffix.lower() in SUFFIXES or (source.path.is_dir() and source.known is None):
        return "pictures", LoosePictures(source.path)
    known = source.known or recognise(source.path)[0]
    if known.format is Format.PACKED:
        raise UserError(
            f"{known.path} holds packed shards, whose records were checked when they were packed; check what they were "
            "packed from (every read compares them with the checksums of their index)"
        )
    needs = GIVES[known.format] - {"masks"}
    opener = Source(known, source.own_split)
    return known.format.value, opener.open(needs, source.images, "skip", None, IMAGES_KEY)


def _without(message: str, file: str) -> str:
    """The message without the file that is told before it."""
    return message.removeprefix(f"{file}: ").removeprefix(f"{file} ")
