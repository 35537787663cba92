"""Everything of a data set read once: its files, its pictures in parallel, its names; then what the splits share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glipv2 import __version__
from glipv2.checking import boxes, names, texts
from glipv2.checking.counts import SplitCounts
from glipv2.checking.findings import CODES, Finding, Findings
from glipv2.checking.names import PromptExample
from glipv2.checking.opening import Input, Opened, open_input
from glipv2.data.pictures import PictureFacts, PictureJob, read_pictures
from glipv2.data.prompts import PromptConfig
from glipv2.errors import UserError
from glipv2.structures import ImageTruth
from glipv2.tokenizer import Tokenizer

SAMPLES, ALL_SAMPLES = 12, 48  # pictures of a split, and of all together, that a report shows
NO_CLASS = ("object",)  # the vocabulary of data whose boxes have words, not classes

Progress = Callable[[str, int, int], None]  # (what, done, all)


@dataclass(frozen=True)
class CheckConfig:
    """pictures: whether they are decoded; workers: processes that decode them."""

    tokenizer: Tokenizer
    prompts: PromptConfig = field(default_factory=PromptConfig)
    pictures: bool = True
    workers: int = 1


@dataclass(frozen=True)
class SampleView:
    """A sample to be shown: its picture's file and what is known of it."""

    split: str
    picture: Path
    truth: ImageTruth
    names: tuple[str, ...]


@dataclass
class CheckReport:
    """What was found, what the splits hold, and examples of both. unusable: files that are no data at all."""

    inputs: int = 1
    opened: list[Opened] = field(default_factory=list)
    splits: list[SplitCounts] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    prompts: list[PromptExample] = field(default_factory=list)
    samples: list[SampleView] = field(default_factory=list)
    pictures_read: int = 0
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def unusable(self) -> list[Opened]:
        """Inputs that are no data at all."""
        return [one for one in self.opened if one.unusable]

    @property
    def status(self) -> int:
        """Of the process: 2 where an input is no data, 1 where there are errors, else 0."""
        return 2 if self.unusable else int(self.findings.errors > 0)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "glipv2": __version__,
            "errors": self.findings.errors,
            "warnings": self.findings.warnings,
            "pictures_read": self.pictures_read,
            "counts": {
                code: {"count": count, "title": CODES[code].title, "remedy": CODES[code].remedy}
                for code, count in sorted(self.findings.counts.items())
            },
            "splits": [split.to_json() for split in self.splits],
            "prompts": [vars(example) for example in self.prompts],
            "findings": [finding.to_json() for finding in self.findings.shown],
        }


def check(
    sources: Sequence[Input], config: CheckConfig, progress: Progress = lambda what, done, every: None
) -> CheckReport:
    """Reads all sources; nothing of them is changed, and nothing about them is raised."""
    report = CheckReport(inputs=len(sources))
    pictures: list[tuple[str, list[PictureFacts]]] = []
    for number, source in enumerate(sources):
        progress("files", number, len(sources))
        opened = open_input(source)
        report.opened.append(opened)
        report.findings.take(opened.findings())
        if opened.samples is not None:
            jobs = _check_samples(opened, config, report, progress)
            facts = list(_check_pictures(opened, jobs, config, report, progress))
            pictures.append((source.split, facts))
    report.findings.take(_across(report, pictures))
    return report


def _check_samples(opened: Opened, config: CheckConfig, report: CheckReport, progress: Progress) -> list[PictureJob]:
    """Counts and checks what is known of each image, then of all together; gives the pictures to be read."""
    samples = opened.samples
    assert samples is not None
    vocabulary, file = samples.vocabulary, opened.file
    named = vocabulary.names != NO_CLASS
    counts = SplitCounts.of(opened.source.split, file, opened.kind, vocabulary.names, named)
    largest, jobs, positives = 0.0, list[PictureJob](), list[list[int]]()
    shown = min(SAMPLES, max(ALL_SAMPLES // report.inputs, 1))
    step = max(len(samples) // shown, 1)
    for index in range(len(samples)):
        progress(f"{opened.source.split}: annotations", index, len(samples))
        try:
            truth = samples.truth(index)
        except UserError as error:  # the header of a picture whose size nobody else tells
            report.findings.take([Finding("E202", file, f"picture {index}", str(error))])
            continue
        counts.add(truth, vocabulary.names)
        largest = max(largest, float(truth.boxes[:, 2:].amax())) if len(truth.boxes) else largest
        report.findings.take(_of_truth(truth, vocabulary.names, config.tokenizer, file))
        job = opened.picture(index, truth.name, truth.image_size)
        if job is not None:
            jobs.append(job)
            if index % step == 0 and index // step < shown:
                report.samples.append(SampleView(opened.source.split, job.path, truth, vocabulary.names))
        if len(positives) < names.EXAMPLES and len(truth.labels):
            positives.append(truth.labels.tolist())
    report.splits.append(counts)
    report.findings.take(_of_split(opened, counts, largest, config))
    if named:
        report.prompts += names.prompt_examples(
            opened.source.split, vocabulary, config.tokenizer, config.prompts, positives
        )
    return jobs


def _of_truth(truth: ImageTruth, known: Sequence[str], tokenizer: Tokenizer, file: str) -> Iterator[Finding]:
    """All checks of one image."""
    yield from boxes.thin_boxes(truth, known, file)
    yield from boxes.boxes_twice(truth, known, file)
    yield from texts.long_texts(truth, tokenizer, file)
    yield from texts.broken_words(truth, file)


def _of_split(opened: Opened, counts: SplitCounts, largest: float, config: CheckConfig) -> Iterator[Finding]:
    """All checks of one split as a whole."""
    assert opened.samples is not None
    yield from boxes.boxes_not_in_pixels(counts, largest, opened.file)
    yield from boxes.corners_for_sizes(counts, opened.faults, opened.file)
    yield from names.idle_names(counts, opened.file)
    if counts.named:
        yield from names.names_in_prompts(opened.samples.vocabulary, config.tokenizer, config.prompts, opened.file)


def _check_pictures(
    opened: Opened, jobs: Sequence[PictureJob], config: CheckConfig, report: CheckReport, progress: Progress
) -> Iterator[PictureFacts]:
    """Reads the pictures, tells of those that can't be used, and of those that occur twice."""
    if not config.pictures:
        return
    jobs = list({job.path: job for job in jobs}.values())
    first: dict[str, Path] = {}
    for number, facts in enumerate(read_pictures(jobs, config.workers)):
        progress(f"{opened.source.split}: pictures", number, len(jobs))
        report.pictures_read += 1
        name = str(facts.path)
        if facts.problem:
            code = "E203" if facts.misfit else "E202"
            report.broken[opened.file].append(name)
            report.findings.take([Finding(code, opened.file, f"picture {facts.path.name}", facts.problem)])
        if facts.digest and first.setdefault(facts.digest, facts.path) != facts.path:
            what = f"holds the same bytes as {first[facts.digest].name}"
            report.findings.take([Finding("W205", opened.file, f"picture {facts.path.name}", what, name)])
        yield facts


def _across(report: CheckReport, pictures: Sequence[tuple[str, Sequence[PictureFacts]]]) -> Iterator[Finding]:
    """What only several splits together can show."""
    yield from leaked_pictures(pictures)
    named = [one for one in report.opened if one.samples is not None and one.samples.vocabulary.names != NO_CLASS]
    yield from names.names_that_differ(
        [(one.kind, one.file, one.samples.vocabulary) for one in named if one.samples is not None]
    )
    yield from names.names_of_one_split(report.splits)


def leaked_pictures(pictures: Sequence[tuple[str, Sequence[PictureFacts]]]) -> Iterator[Finding]:
    """The same bytes in two splits. pictures: of each split."""
    first: dict[str, tuple[str, Path]] = {}
    for split, every in pictures:
        for facts in every:
            if not facts.digest:
                continue
            other, path = first.setdefault(facts.digest, (split, facts.path))
            if other != split:
                what = f"has the same bytes as {path.name} of split {other}"
                yield Finding("E206", str(facts.path), f"split {split}", what, str(facts.path))
