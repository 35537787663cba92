"""`glipv2 data …`: looks after files of annotations. Imports nothing heavy until a file is read.

A subcommand is one function that adds its parser to the group and says with `set_defaults(run=…)` what is run:
a function of the parsed words that gives the exit status (0 = all is well). List it in `SUBCOMMANDS`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glipv2.check_command import add_benchmark, add_check, add_preview
from glipv2.parser import Parser

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[Parser]

LABEL_HELP = """\
Finds the noun phrases of captions in their images, and writes what the model is sure of as ODVG lines to train on.
A killed run goes on where it stopped when the same words are given again.

  weights=RUN_OR_FILE  images=FOLDER  captions=FILE  output=LABELS.jsonl
  threshold=0.5        score from which a box is kept       boxes=10    most boxes of a phrase
  batch_size=8         device=auto                          on_error=raise|skip  (broken images and records)
  preview=SHEET.png    pictures of the first labelled images

captions: COCO captions (.json), lines with filename and caption (.jsonl), or a table with these columns (.csv, .tsv)
"""
EXAMPLES = """\
examples
  glipv2 data check instances.json --images photos --html check.html
  glipv2 data preview task=detection data=coco data.train.images=photos data.train.annotations=instances.json
  glipv2 data convert annotations/instances_train2017.json out --to odvg
  glipv2 data convert voc out --to coco --images photos
"""


def data_command(arguments: Sequence[str]) -> int:
    """Runs a subcommand and gives its exit status; UserError for words and files that are not as expected."""
    parser = _parser()
    if not arguments:
        parser.print_help()
        return 0
    words = parser.parse_args(arguments)
    status: int = words.run(words)
    return status


def _add_convert(group: Group) -> None:
    parser = group.add_parser("convert", help="write annotations in another layout, and say what it can't hold")
    parser.add_argument("path", metavar="IN", type=Path, help="a file or folder of any layout that is read")
    parser.add_argument("out", metavar="OUT", type=Path, help="a new folder")
    parser.add_argument("--to", required=True, choices=("coco", "odvg", "mdetr", "yolo", "voc"), help="the layout")
    parser.add_argument("--images", metavar="FOLDER", type=Path, help="where the pictures are, if not near IN")
    parser.add_argument("--split", metavar="NAME", help="the split to convert, or what to call a single file")
    parser.add_argument(
        "--on-error", choices=("raise", "skip"), default="raise", help="what to do about faulty records"
    )
    parser.add_argument("--masks", action="store_true", help="convert masks too (to coco, as run lengths)")
    parser.add_argument(
        "--copy", action="store_true", help="copy the pictures that yolo and voc keep, do not link them"
    )
    parser.set_defaults(run=_convert)


def _convert(words: argparse.Namespace) -> int:
    from glipv2.data.convert import convert

    convert(
        words.path,
        words.out,
        words.to,
        images=words.images,
        split=words.split,
        on_error=words.on_error,
        masks=words.masks,
        copy=words.copy,
    )
    return 0


def _add_label(group: Group) -> None:
    parser = group.add_parser(
        "label", help="ground captions with a trained model: pseudo-labels", description=LABEL_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("words", metavar="KEY=VALUE", nargs="+", help="see above")
    parser.set_defaults(run=_label)


def _label(words: argparse.Namespace) -> int:
    from glipv2.config import LabelConfig, from_words
    from glipv2.labelling import label

    config = from_words(LabelConfig, words.words)
    for what, count in label(config).items():
        print(f"{count:8d} {what}")
    print(f"written to {config.output}{f', pictures in {config.preview}' if config.preview else ''}")
    return 0


SUBCOMMANDS: tuple[Callable[[Group], None], ...] = (add_check, add_preview, add_benchmark, _add_convert, _add_label)


def _parser() -> Parser:
    parser = Parser(
        prog="glipv2 data",
        description="Looks after files of annotations and the images that they describe.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_subparsers(dest="action", metavar="SUBCOMMAND", required=True, parser_class=Parser)
    for add in SUBCOMMANDS:
        add(group)
    return parser
