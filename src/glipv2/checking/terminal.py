"""The report of a check as text: what the splits hold, then every kind of finding with its first places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from glipv2.checking.counts import SplitCounts
from glipv2.checking.findings import CODES
from glipv2.checking.runner import CheckReport
from glipv2.checking.runner import Progress as Told
from glipv2.report.summary import show_rows

PLACES = 3  # findings of a code that are told in full
CLASSES = 10  # of a split
MOST_COLUMNS = 6  # splits beside each other


def show(report: CheckReport, console: Console) -> None:
    """Prints it."""
    if report.splits:
        show_rows(_split_rows(report.splits), console)
        console.print()
        rows = _class_rows(report.splits)
        if len(rows) > 1:
            show_rows(rows, console)
            console.print()
    for code, count in sorted(report.findings.counts.items()):
        console.print(f"{code} {CODES[code].title}: {count}", highlight=False, markup=False, soft_wrap=True)
        shown = [finding for finding in report.findings.shown if finding.code == code][:PLACES]
        for finding in shown:
            where = f"{finding.file}: {finding.place}" if finding.place else finding.file
            console.print(f"  {where}: {finding.what}", highlight=False, markup=False, soft_wrap=True)
        if count > sum(finding.count for finding in shown):
            left = count - sum(finding.count for finding in shown)
            console.print(f"  and {left} more (--json FILE, --html FILE)", highlight=False, markup=False)
        console.print(f"  to do: {CODES[code].remedy}", highlight=False, markup=False, soft_wrap=True)
    errors, warnings = report.findings.errors, report.findings.warnings
    counted = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    console.print(f"{counted}; {report.pictures_read} pictures read", highlight=False)


def _split_rows(splits: Sequence[SplitCounts]) -> list[list[str]]:
    heads = ["split", "kind", "images", "without boxes", "boxes", "crowds", "small", "medium", "large"]
    rows = [[*heads, "captions", "phrases", "questions"]]
    for split in splits:
        numbers = [split.images, split.without_boxes, split.boxes, split.crowds]
        numbers += [split.sizes[size] for size in ("small", "medium", "large")]
        numbers += [split.captions, split.phrases.total(), split.questions]
        rows.append([split.name, split.kind, *map(str, numbers)])
    told = [place for place in range(len(rows[0])) if place < 3 or any(row[place] != "0" for row in rows[1:])]
    return [[row[place] for place in told] for row in rows]


def _class_rows(splits: Sequence[SplitCounts]) -> list[list[str]]:
    """The commonest classes of all splits together, then how many more there are."""
    named = [split for split in splits if split.named]
    if not 0 < len(named) <= MOST_COLUMNS:
        return []
    every: dict[str, int] = {}
    for split in named:
        for name, count in split.classes.items():
            every[name] = every.get(name, 0) + count
    names = sorted(every, key=lambda name: -every[name])
    rows = [["class", *(f"boxes in {split.name}" for split in named)]]
    rows += [[name, *(str(split.classes[name]) for split in named)] for name in names[:CLASSES]]
    if len(names) > CLASSES:
        left = names[CLASSES:]
        rows.append([f"{len(left)} others", *(str(sum(split.classes[name] for name in left)) for split in named)])
    return rows


@contextmanager
def progress_bar(console: Console) -> Iterator[Told]:
    """What `check` tells of its progress; nothing where there is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, object] = {}

        def told(what: str, done: int, every: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=every)
            bar.update(tasks[what], completed=done + 1)  # type: ignore[arg-type]

        yield told
