"""Files and folders opened as what they are: which layout has a split, where its images lie, and what it can give."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from glipv2.data.coco import CocoDataset
from glipv2.data.coco_split import CocoSplit
from glipv2.data.dataset import SampleDataset
from glipv2.data.flickr30k import Flickr30kDataset
from glipv2.data.formats import Format, Recognised, recognise, with_images
from glipv2.data.joined import AnswerChoice
from glipv2.data.karpathy import KarpathyCaptions
from glipv2.data.lvis import LvisDataset
from glipv2.data.mdetr import MdetrDataset
from glipv2.data.objects365 import Objects365Dataset
from glipv2.data.odvg import OdvgDetection, OdvgGrounding
from glipv2.data.places import WORDS, answers_of, image_folder, sibling, split_of
from glipv2.data.references import ReferencesDataset
from glipv2.data.shards.dataset import PackedSamples, open_index
from glipv2.data.shards.files import ReadingConfig, ShardFiles
from glipv2.data.shards.layout import PackIndex
from glipv2.data.voc import VocDataset
from glipv2.data.yolo import YoloDataset
from glipv2.errors import UserError

logger = logging.getLogger(__name__)

BOXES, MASKED = frozenset({"boxes"}), frozenset({"boxes", "masks"})
GROUNDED = frozenset({"boxes", "phrases", "captions"})
GIVES = {
    Format.COCO: MASKED,
    Format.OBJECTS365: BOXES,
    Format.LVIS: BOXES,
    Format.YOLO: MASKED,
    Format.VOC: BOXES,
    Format.ODVG: BOXES,
    Format.ODVG_GROUNDING: GROUNDED,
    Format.MDETR: GROUNDED,
    Format.FLICKR30K: GROUNDED,
    Format.REFERENCES: GROUNDED,
    Format.CAPTIONS: frozenset({"captions"}),
    Format.KARPATHY: frozenset({"captions"}),
    Format.QUESTIONS: frozenset({"questions"}),
    Format.ANSWERS: frozenset({"questions"}),
    Format.PACKED: frozenset({"boxes", "masks", "phrases", "captions", "questions"}),
}
Open = Callable[[Path, Path, bool, str], SampleDataset]  # (annotations, images, with_masks, on_error)
FILES: dict[Format, Open] = {
    Format.COCO: lambda path, images, masks, on_error: CocoDataset(path, images, with_masks=masks, on_error=on_error),
    Format.OBJECTS365: lambda path, images, _, on_error: Objects365Dataset(path, images, on_error=on_error),
    Format.LVIS: lambda path, images, _, on_error: LvisDataset(path, images, on_error=on_error),
    Format.ODVG: lambda path, images, _, on_error: OdvgDetection(path, images, on_error=on_error),
    Format.ODVG_GROUNDING: lambda path, images, _, on_error: OdvgGrounding(path, images, on_error=on_error),
    Format.MDETR: lambda path, images, _, on_error: MdetrDataset(path, images, on_error=on_error),
    Format.REFERENCES: lambda path, images, _, on_error: ReferencesDataset(path, images, on_error=on_error),
}

OpenSplit = Callable[[Path, Path, str, str], SampleDataset]  # (annotations, images, split, on_error)
OF_SPLIT: dict[Format, OpenSplit] = {
    Format.VOC: lambda path, images, split, on_error: VocDataset(path, split, images, on_error=on_error),
    Format.FLICKR30K: lambda path, images, split, on_error: Flickr30kDataset(path, images, split, on_error=on_error),
    Format.KARPATHY: lambda path, images, split, on_error: KarpathyCaptions(path, images, split, on_error=on_error),
}


@dataclass(frozen=True)
class Source:
    """A split of what was recognised; own_split: its name there ("valid"), "" for a file, which is one split."""

    found: Recognised
    own_split: str

    def lacks(self, needs: frozenset[str]) -> frozenset[str]:
        """Those of the needs that it can't give. Boxes of captions have no classes, which boxes alone would need."""
        if self.found.format is Format.PACKED:
            return frozenset() if self._packed().splits[self.own_split].view(needs) else needs
        if needs == BOXES and GIVES[self.found.format] == GROUNDED:
            return BOXES
        return needs - GIVES[self.found.format]

    def holds(self, needs: frozenset[str]) -> frozenset[str]:
        """What samples for these needs hold: captions of a grounding file have phrases and boxes too."""
        if self.found.format is Format.PACKED:
            view = self._packed().splits[self.own_split].view(needs)
            return frozenset(view.holds) if view else needs
        return needs | GROUNDED if GIVES[self.found.format] == GROUNDED else needs

    def open(
        self, needs: frozenset[str], images: Path | None, on_error: str, answers: AnswerChoice | None, key: str
    ) -> SampleDataset:
        """The samples, with masks where these are needed. key: of the setting that names the images' folder."""
        if self.found.format is Format.PACKED:
            files = ShardFiles(str(self.found.path), ReadingConfig())
            return PackedSamples(files, self.own_split, needs, answers)
        return self._read(needs, images, on_error, answers, key)

    def _read(
        self, needs: frozenset[str], images: Path | None, on_error: str, answers: AnswerChoice | None, key: str
    ) -> SampleDataset:
        """The files of the layout."""
        found, split = self.found, self.own_split
        masks = "masks" in needs
        if found.format is Format.YOLO:
            return YoloDataset(found.path, split, with_masks=masks, on_error=on_error)
        if found.format is Format.VOC and images is None and (found.path / "JPEGImages").is_dir():
            return VocDataset(found.path, split, on_error=on_error)
        inside = split and found.format is not Format.KARPATHY  # of a folder, whose files name their images
        folder = images or image_folder(with_images(found, split) if inside else found, key)
        if found.format in OF_SPLIT:
            return OF_SPLIT[found.format](found.path, folder, split, on_error)
        if found.format in FILES:
            return FILES[found.format](found.path, folder, masks, on_error)
        where = key.removesuffix(".images")
        return self._texts(folder).samples(needs, on_error, answers, where)

    def _packed(self) -> PackIndex:
        return open_index(ShardFiles(str(self.found.path), ReadingConfig()))

    def _texts(self, images: Path) -> CocoSplit:
        """The files of captions, or of questions and answers."""
        if self.found.format is Format.CAPTIONS:
            return CocoSplit(images=str(images), captions=str(self.found.path))
        questions, answers = answers_of(self.found)
        return CocoSplit(images=str(images), questions=str(questions), answers=str(answers) if answers else None)


def find_source(path: Path, split: str, key: str) -> Source:
    """What `path` has for a split ("train", "val" or "test"); key: of the setting that names this split alone."""
    found = recognise(path)
    if len(found) == 1 and found[0].splits:
        return Source(found[0], _own_split(found[0], split, key))
    if path.is_file():
        return Source(_file_of(found[0], split, key), "")
    formats = Counter(
        "VQA v2" if one.format in (Format.QUESTIONS, Format.ANSWERS) else one.format.value for one in found
    )
    if len(formats) > 1:
        told = "; ".join(f"{name}: {_first(found, name)}" for name in formats)
        raise UserError(f"{path} holds {len(formats)} layouts ({told}); set {key} to one of the files")
    own = [one for one in found if split_of(one.path) == split and one.format is not Format.ANSWERS]
    if len(own) != 1:
        names = ", ".join(str(one.path.relative_to(path)) for one in (own or found)[:6])
        raise UserError(f"{path}: {len(own)} files are '{split}' by their names ({names}); set {key} to the right one")
    return Source(own[0], "")


def _first(found: list[Recognised], name: str) -> str:
    return next(one.path.name for one in found if one.format.value.startswith(name))


def _own_split(found: Recognised, split: str, key: str) -> str:
    names = [name for name in found.splits if name in WORDS[split]]
    if not names:
        raise UserError(
            f"{found.path} ({found.format.value}) has no split '{split}', only {', '.join(found.splits) or 'none'}; "
            f"set {key} to another place"
        )
    return names[0]


def _file_of(found: Recognised, split: str, key: str) -> Recognised:
    """The file itself where its name says nothing else, otherwise that of the split beside it."""
    own = split_of(found.path)
    if own in (None, split):
        return found
    other = sibling(found.path, split)
    if other is None:
        raise UserError(f"{found.path} is '{own}' by its name, and no file beside it is '{split}'; set {key}")
    return recognise(other)[0]
