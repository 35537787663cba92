"""A file or folder of data opened as training opens it, with every fault that its reader found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from glipv2.checking.findings import CODE_OF_KIND, OTHER, Finding
from glipv2.data.captions import kind_of
from glipv2.data.coco import CocoDataset
from glipv2.data.coco_split import CocoSplit
from glipv2.data.dataset import SampleDataset
from glipv2.data.faults import Fault, gathered, read_json
from glipv2.data.images import SUFFIXES, image_paths, image_size
from glipv2.data.joined import UNNAMED, JoinedDataset
from glipv2.data.lvis import LvisDataset
from glipv2.data.mdetr import MdetrDataset
from glipv2.data.odvg import OdvgDetection, OdvgGrounding
from glipv2.data.pictures import PictureJob
from glipv2.data.truths import DescribedImages, described
from glipv2.errors import UserError
from glipv2.structures import ImageTruth, Instances


@dataclass(frozen=True)
class Source:
    """What is to be checked: a split's name, its file or folder, and the folder of its images."""

    split: str
    path: Path
    images: Path | None = None


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

    source: Source
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

    def picture(self, index: int, name: str, image_size: tuple[int, int]) -> PictureJob | None:
        """How to read the picture of a sample; None for samples that come from no file."""
        images = self.samples.images if isinstance(self.samples, JoinedDataset) else self.samples
        if not isinstance(images, DescribedImages):
            return None
        return PictureJob(images.folder / name, image_size, images.described_by(index))


def finding_of(fault: Fault) -> Finding:
    """A reader's fault with its code."""
    code = CODE_OF_KIND.get(fault.kind, OTHER)
    what = _without(fault.detail, str(fault.path)) or f"{fault.count} records: {fault.kind}"
    return Finding(code, str(fault.path), fault.place, what, count=fault.count)


def open_source(source: Source) -> Opened:
    """Opens it leniently; whatever is wrong with it ends in the result, nothing is raised."""
    opened = Opened(source)
    with gathered(mended=True) as faults:
        try:
            opened.kind, opened.samples = _opened(source)
        except UserError as error:
            opened.refusal = " ".join(str(error).split())
    opened.faults = faults
    return opened


def _opened(source: Source) -> tuple[str, SampleDataset]:
    if source.path.is_dir() or source.path.suffix.lower() in SUFFIXES:
        return "pictures", LoosePictures(source.path)
    if source.path.suffix == ".jsonl":
        grounded = "grounding" in source.path.read_text()
        reader = OdvgGrounding if grounded else OdvgDetection
        return "ODVG", reader(source.path, source.images or source.path.parent, on_error="skip")
    content = read_json(source.path, "a file of annotations")
    kind = kind_of(content)
    images = source.images or source.path.parent
    if kind == "COCO captions":
        return kind, CocoSplit(images=str(images), captions=str(source.path)).samples(
            frozenset({"captions"}), "skip", None, source.split
        )
    if kind.startswith("grounded"):
        return kind, MdetrDataset(source.path, images, on_error="skip")
    images_listed = content.get("images") if isinstance(content, dict) else None
    records = images_listed if isinstance(images_listed, list) else []
    if any(isinstance(record, dict) and "neg_category_ids" in record for record in records):
        return "LVIS", LvisDataset(source.path, images, on_error="skip")
    return kind, CocoDataset(source.path, images, on_error="skip")


def _without(message: str, file: str) -> str:
    """The message without the file that is told before it."""
    return message.removeprefix(f"{file}: ").removeprefix(f"{file} ")
