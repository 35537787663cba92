"""Annotations in another layout: read as what they are, written as asked for, with an account of what is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from glipv2.data.auto import GIVES, GROUNDED, Source
from glipv2.data.formats import Format, Recognised, recognise
from glipv2.data.lvis import LvisDataset
from glipv2.data.places import SPLIT_OF, split_of
from glipv2.data.truths import DescribedImages
from glipv2.data.writers.coco import write_coco
from glipv2.data.writers.mdetr import write_mdetr
from glipv2.data.writers.odvg import write_odvg_detection, write_odvg_grounding
from glipv2.data.writers.parts import Written
from glipv2.data.writers.voc import write_voc
from glipv2.data.writers.yolo import write_yolo
from glipv2.errors import UserError

Write = Callable[[Written], None]
CLASSES: Mapping[str, Write] = {"coco": write_coco, "odvg": write_odvg_detection, "yolo": write_yolo, "voc": write_voc}
CAPTIONS: Mapping[str, Write] = {"mdetr": write_mdetr, "odvg": write_odvg_grounding}
TARGETS = ("coco", "odvg", "mdetr", "yolo", "voc")


def convert(
    path: Path,
    out: Path,
    target: str,
    *,
    images: Path | None = None,
    split: str | None = None,
    on_error: str = "raise",
    masks: bool = False,
    copy: bool = False,
    say: Callable[[str], None] = print,
) -> Counter[str]:
    """Writes every split of `path` into the new folder `out`; says, and gives, how many of what could not be held.

    split: what a single file is called (default: by its name, else train). masks: read and written, COCO only.
    copy: pictures are copied where the layout keeps them beside its labels (otherwise linked).
    """
    if masks and target != "coco":
        raise UserError(f"--masks: only --to coco can hold masks, but got --to {target}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already; give a new folder")
    sources = _sources(path, split)
    write = _writer(next(iter(sources.values())).found, target)
    lost: Counter[str] = Counter()
    for name, source in sources.items():
        needs = frozenset({"boxes", "masks"}) if masks else frozenset({"boxes"})
        samples = source.open(needs, images, on_error, None, "--images")
        assert isinstance(samples, DescribedImages), "texts without boxes have been refused"
        written = Written(samples, name, out, copy)
        if isinstance(samples, LvisDataset):
            written.lost["judgements of LVIS (negative and not exhaustive categories)"] += len(samples.judgements)
            written.lost["frequencies of LVIS"] += len(samples.frequencies)
        write(written)
        boxes = sum(len(truth.boxes) for truth in written.truths())
        say(f"{name}: {len(samples)} images and {boxes} boxes of {source.found.path} ({source.found.format.value})")
        say(f"  pictures are in {samples.folder}")
        lost += written.lost
    for what, count in sorted(lost.items()):
        say(f"{target} can't hold: {count} {what}")
    say(f"wrote {out}")
    return lost


def _sources(path: Path, split: str | None) -> dict[str, Source]:
    """What there is to convert, by the name of its split."""
    found = [one for one in recognise(path) if one.format is not Format.ANSWERS]
    formats = sorted({one.format.value for one in found})
    if len(formats) > 1:
        raise UserError(f"{path} holds {len(formats)} layouts ({', '.join(formats)}); name one of the files")
    if found[0].splits:
        names = {SPLIT_OF.get(own, own): Source(found[0], own) for own in found[0].splits if own != "trainval"}
        chosen = {name: source for name, source in names.items() if split in (None, name)}
        if not chosen:
            raise UserError(f"--split {split}: {path} has {', '.join(names)}")
        return chosen
    sources: dict[str, Source] = {}
    for one in found:
        name = split if split and len(found) == 1 else split_of(one.path) or "train"
        if name in sources:
            raise UserError(f"{sources[name].found.path} and {one.path} would both be '{name}'; name one of the files")
        sources[name] = Source(one, "")
    return sources


def _writer(found: Recognised, target: str) -> Write:
    """UserError where the layout can hold nothing of what there is."""
    if found.format is Format.PACKED:
        raise UserError(f"{found.path} holds packed shards; convert what they were packed from")
    gives = GIVES[found.format]
    writers = CAPTIONS if gives == GROUNDED else CLASSES
    if "boxes" not in gives:
        raise UserError(f"{found.path} is {found.format.value}, which has no boxes; there is nothing to convert")
    if target not in writers:
        kind = "boxes with words, not classes" if gives == GROUNDED else "boxes with classes, not captions"
        raise UserError(
            f"{found.path} ({found.format.value}) has {kind}, which {target} can't hold; "
            f"choose --to {' or --to '.join(sorted(writers))}"
        )
    return writers[target]
