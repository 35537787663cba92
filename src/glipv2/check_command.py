"""`glipv2 data check`, `preview` and `benchmark`. Imports nothing heavy until a file is read."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from glipv2.errors import UserError
from glipv2.hushed import hushed
from glipv2.parser import Parser

if TYPE_CHECKING:
    from glipv2.checking.fixing import FileChange
    from glipv2.checking.opening import Input
    from glipv2.checking.runner import CheckReport

    Group = argparse._SubParsersAction[Parser]

CHECK_HELP = """\
Reads annotations and pictures once and tells what is wrong with them, in codes (docs/data_check.md lists them).
Give all splits together, as train=… val=…: what they share is looked for too.

exit status: 0 = no errors (there may be warnings), 1 = errors, 2 = a PATH is no data that can be read
"""
CHECK_EXAMPLES = """\
examples
  glipv2 data check instances.json --images photos
  glipv2 data check train=train.json val=val.json --images photos/train photos/val --html check.html
  glipv2 data check instances.json --images photos --fix cleaned
"""
PREVIEW_HELP = """\
Draws training samples as the model will see them: resized and augmented, each box with the words that name it,
and the prompt. Takes the words of glipv2 train.
"""
PREVIEW_EXAMPLES = """\
examples
  glipv2 data preview experiment=shapes_detection_nano -o sheet.png
  glipv2 data preview task=instance_segmentation data=coco data.train.images=photos data.train.annotations=train.json
"""
BENCHMARK_HELP = """\
Measures where the time of loading goes: annotations, decoding, augmentation, prompts and padding; beside it plain
torchvision on the same photos, and images a second with several numbers of workers. Takes the words of glipv2 train.
"""
BENCHMARK_EXAMPLES = """\
examples
  glipv2 data benchmark data=coco data.train.images=photos data.train.annotations=train.json model=glip_t
  glipv2 data benchmark experiment=shapes_joint_nano --workers 0 2
"""
LISTED_CHANGES = 10


def add_check(group: Group) -> None:
    """The parser of `glipv2 data check`."""
    parser = group.add_parser(
        "check", help="read all of it and tell what is wrong", description=CHECK_HELP, epilog=CHECK_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("paths", metavar="[SPLIT=]PATH", nargs="+", help="a file or folder of annotations")
    parser.add_argument(
        "--images", metavar="DIR", nargs="+", default=[], help="folder of the images: one for all, or one a PATH"
    )
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON")
    parser.add_argument("--html", metavar="FILE", help="write the report as one HTML page, with sample pictures")
    parser.add_argument("--fix", metavar="DIR", help="write cleaned copies to a new folder and list every change")
    parser.add_argument("--no-pictures", action="store_true", help="don't decode the pictures")
    parser.add_argument(
        "--workers", metavar="N", type=int, default=os.cpu_count() or 1, help="processes that read pictures"
    )
    parser.add_argument("--tokenizer", metavar="SOURCE", default="builtin", help="the model's (model.tokenizer.source)")
    parser.add_argument("--max-tokens", metavar="N", type=int, default=256, help="of a prompt (model.tokenizer)")
    parser.set_defaults(run=run_check)


def add_preview(group: Group) -> None:
    """The parser of `glipv2 data preview`."""
    parser = group.add_parser(
        "preview", help="draw training samples as the model will see them", description=PREVIEW_HELP,
        epilog=PREVIEW_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("words", metavar="KEY=VALUE", nargs="*", help="as for glipv2 train")
    parser.add_argument("-o", "--output", metavar="FILE", default="preview.png", help="the picture (preview.png)")
    parser.add_argument("--count", metavar="N", type=int, default=16, help="samples of each task (16)")
    parser.set_defaults(run=run_preview)


def add_benchmark(group: Group) -> None:
    """The parser of `glipv2 data benchmark`."""
    parser = group.add_parser(
        "benchmark", help="measure where the time of loading goes", description=BENCHMARK_HELP,
        epilog=BENCHMARK_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("words", metavar="KEY=VALUE", nargs="*", help="as for glipv2 train")
    parser.add_argument("--count", metavar="N", type=int, default=200, help="images of each task (200)")
    parser.add_argument(
        "--workers", metavar="N", type=int, nargs="+", default=[0, 1, 2], help="loader processes to try (0 1 2)"
    )
    parser.set_defaults(run=run_benchmark)


def run_benchmark(words: argparse.Namespace) -> int:
    """Measures and tells."""
    from glipv2.loading import benchmark

    for task, report in benchmark(words.words, words.count, words.workers).items():
        print(f"{task}: {report.images} images", *(f"  {line}" for line in report.lines()), sep="\n")
    return 0


def run_check(words: argparse.Namespace) -> int:
    """Checks, tells, writes what is asked for; gives the exit status."""
    from rich.console import Console

    from glipv2.checking.page import write_page
    from glipv2.checking.runner import CheckConfig, check
    from glipv2.checking.terminal import progress_bar, show
    from glipv2.tokenizer import TokenizerConfig

    sources = inputs_of(words.paths, words.images)
    tokenizer = TokenizerConfig(words.tokenizer, words.max_tokens).build()
    console = Console()
    with hushed("glipv2.data"), progress_bar(Console(stderr=True)) as progress:
        config = CheckConfig(tokenizer, pictures=not words.no_pictures, workers=words.workers)
        report = check(sources, config, progress)
    show(report, console)
    if words.json:
        _write_json(report, Path(words.json))
    if words.html:
        write_page(report, Path(words.html))
    if words.fix:
        _fix(report, sources, Path(words.fix))
    return report.status


def run_preview(words: argparse.Namespace) -> int:
    """Draws the sheet."""
    from glipv2.preview import preview

    count = preview(words.words, Path(words.output), words.count)
    print(f"{words.output}: {count} training samples")
    return 0


def inputs_of(paths: list[str], images: list[str]) -> list[Input]:
    """The splits that the words name; UserError where images and paths don't fit together, or a path is not there."""
    from glipv2.checking.opening import find_inputs

    if len(images) not in (0, 1, len(paths)):
        raise UserError(f"--images: expected one folder, or one for each of {len(paths)} paths, but got {len(images)}")
    folders = images * len(paths) if len(images) == 1 else images or [""] * len(paths)
    found = []
    for word, folder in zip(paths, folders, strict=True):
        split, separator, path = word.partition("=")
        if not separator or Path(word).exists():
            split, path = "", word
        if not Path(path).exists():
            raise UserError(f"{path} does not exist; check the path")
        if folder and not Path(folder).is_dir():
            raise UserError(f"--images {folder} is missing or not a folder; check the path")
        found += find_inputs(Path(path), Path(folder) if folder else None, split)
    return found


def _write_json(report: CheckReport, path: Path) -> None:
    from glipv2.report.page import write_whole

    write_whole(path, json.dumps(report.to_json(), indent=1).encode())


def _fix(report: CheckReport, sources: list[Input], folder: Path) -> None:
    from glipv2.checking.fixing import fix

    changes = fix(sources, report.broken, folder)
    for change in changes[:LISTED_CHANGES]:
        print(_told(change))
    more = f", {len(changes) - LISTED_CHANGES} more" if len(changes) > LISTED_CHANGES else ""
    print(f"{folder}: cleaned copies; {len(changes)} changes{more}, all of them in {folder / 'changes.json'}")


def _told(change: FileChange) -> str:
    return f"  {change.file}: {change.place}: {change.what}" if change.place else f"  {change.file}: {change.what}"
