"""What data holds that weights are to be fine-tuned on: splits, faults, and what is annotated."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from glipv2.checking.counts import SplitCounts
from glipv2.checking.opening import Input
from glipv2.checking.runner import CheckConfig, CheckReport, Progress, check
from glipv2.data.auto import Source
from glipv2.data.dataset import SampleDataset
from glipv2.data.faults import gathered
from glipv2.data.formats import recognise
from glipv2.data.places import split_of
from glipv2.data.sources import AutoData
from glipv2.errors import UserError
from glipv2.metrics.coco import CocoBoxAP
from glipv2.structures import Detections
from glipv2.tokenizer import Tokenizer

HOLDOUT = 0.2  # of the images, where there is no validation split
MASKS_LOOKED_AT = 20  # images whose masks tell whether they are more than rectangles
FULL_BOX = 0.97  # of a box's area that the mask of a rectangle fills
SCORED_TRUTHS = 500  # images of the validation split, for which the truth is scored


@dataclass(frozen=True)
class Masks:
    """How many boxes have a mask, and whether these are the boxes again, as some annotation tools write them."""

    count: int = 0
    are_rectangles: bool = False


@dataclass(frozen=True)
class DataFacts:
    """What was found. data: how it is read; format, why: what the training file is and how that is seen.

    truth_ap: box AP of the truth itself, given as predictions; None where boxes have no names. picture: one of those
    to validate on. few: how many pictures data.shots leaves to train on, None where it is not set.
    """

    data: AutoData
    format: str
    why: str
    train: SplitCounts
    val: SplitCounts | None
    masks: Masks
    names: tuple[str, ...]
    report: CheckReport
    truth_ap: float | None = None
    picture: str = "photo.jpg"
    few: int | None = None

    @property
    def train_images(self) -> int:
        """How many pictures are trained on."""
        if self.few is not None:
            return self.few
        whole = self.train.images - self.val_images if self.val is None else self.train.images
        return min(whole, self.data.first) if self.data.first else whole

    @property
    def val_images(self) -> int:
        """How many pictures are validated on."""
        if self.val is None:
            return min(max(round(self.data.holdout * self.train.images), 1), self.train.images - 1)
        return self.val.images


def whole_data(path: str, given: Mapping[str, str]) -> AutoData:
    """How a path is read: its splits where it has them, else a share of its images held out.

    given: keys of `data=auto` that somebody set. UserError for what is no data.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"data={path} does not exist; give a file or folder of annotations (seen from {Path.cwd()})")
    policy = given.get("data.on_error", "raise")
    data = AutoData(path=str(_only_file(place)), images=given.get("data.images"), on_error=policy)
    data.shots, data.shots_seed = (whole_number(given, f"data.{key}") for key in ("shots", "shots_seed"))
    data.first = whole_number(given, "data.first")
    for split in ("train", "val", "test"):
        own = getattr(data, split)
        own.path, own.images = given.get(f"data.{split}.path"), given.get(f"data.{split}.images")
    if "data.holdout" in given:
        return replace(data, holdout=_share(given["data.holdout"]))
    return data if data.val.path or _has_val(data) else replace(data, holdout=HOLDOUT)


def whole_number(given: Mapping[str, str], key: str) -> int:
    """A key's value, 0 where nobody set it; UserError for what is none."""
    word = given.get(key, "0")
    if not word.isdecimal():
        raise UserError(f"{key}={word}: expected a whole number, 0 or more")
    return int(word)


def _share(word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise UserError(f"data.holdout={word}: expected a share between 0 and 1, as 0.2") from error


def _only_file(place: Path) -> Path:
    """The one file of annotations in a folder that names no split; otherwise the place itself."""
    if place.is_file():
        return place
    found = recognise(place)
    alone = len(found) == 1 and not found[0].splits and split_of(found[0].path) is None
    return found[0].path if alone else place


def _has_val(data: AutoData) -> bool:
    """Whether a validation split can be found that is not the training split again."""
    train = data.source("train")
    with suppress(UserError):
        return data.source("val") != train
    return False


def read_facts(data: AutoData, tokenizer: Tokenizer, progress: Progress) -> DataFacts:
    """Reads and checks all of it, pictures too; faults are in the report, only unreadable data is raised."""
    sources = {split: data.source(split) for split in (("train",) if data.holdout else ("train", "val"))}
    inputs = [_input(split, source, data) for split, source in sources.items()]
    config = CheckConfig(tokenizer, data.prompts, workers=os.cpu_count() or 1)
    report = check(inputs, config, progress)
    if report.unusable or len(report.splits) < len(sources):
        worst = next((finding for finding in report.findings.shown if finding.is_error), None)
        raise UserError(f"{data.path} can't be read as training data: {worst or 'nothing is left of it'}")
    counts = {split.name: split for split in report.splits}
    samples = report.opened[-1].samples
    assert samples is not None, "a split that was counted was opened"
    train = counts["train"]
    named = train.named and train.boxes > 0
    return DataFacts(
        data=data,
        format=sources["train"].found.format.value,
        why=sources["train"].found.why,
        train=train,
        val=counts.get("val"),
        masks=_masks(sources["train"], data, train.boxes) if named else Masks(),
        names=samples.vocabulary.names if named else (),
        report=report,
        truth_ap=truth_ap(samples) if named else None,
        picture=str(report.samples[-1].picture) if report.samples else "photo.jpg",
        few=len(data.dataset("train")) if data.shots else None,
    )


def _input(split: str, source: Source, data: AutoData) -> Input:
    images = getattr(data, split).images or data.images
    return Input(split, source.found.path, Path(images) if images else None, source.found, source.own_split)


def _masks(source: Source, data: AutoData, boxes: int) -> Masks:
    """Looks for masks; none where the layout has none, or nothing is left when they are asked for."""
    if source.lacks(frozenset({"boxes", "masks"})):
        return Masks()
    images = Path(data.images) if data.images else None
    opened = {}
    try:
        for needs in (frozenset({"boxes"}), frozenset({"boxes", "masks"})):
            with gathered() as faults:
                samples = source.open(needs, images, "skip", None, "data.images")
            opened[needs] = (samples, sum(fault.count for fault in faults))
    except UserError:
        return Masks()
    (_, usual), (masked, more) = opened.values()
    return Masks(max(boxes - (more - usual), 0), _are_rectangles(masked))


def _are_rectangles(samples: SampleDataset) -> bool:
    looked = 0
    for index in range(min(len(samples), MASKS_LOOKED_AT)):
        truth = samples.truth(index)
        if truth.masks is None:
            return False
        sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]).clamp(min=1)
        if bool((truth.masks.flatten(1).sum(dim=1) < FULL_BOX * sides.prod(dim=1)).any()):
            return False
        looked += len(truth.boxes)
    return looked > 0


def truth_ap(samples: SampleDataset) -> float:
    """Box AP of the annotations when they are given as predictions: 1 where names, ids and boxes fit together."""
    metric = CocoBoxAP(samples.vocabulary, samples.scored_names)
    for index in range(min(len(samples), SCORED_TRUTHS)):
        truth = samples.truth(index)
        own = ~truth.is_crowd
        scores = torch.ones(int(own.sum()))
        found = Detections(truth.boxes[own], scores, truth.labels[own], truth.image_size, samples.vocabulary)
        metric.update([found], [truth])
    return metric.compute().flat("truth")["truth/box_ap"]
