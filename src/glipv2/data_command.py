"""`glipv2 data …`: looks after files of annotations. Imports nothing heavy until a file is read.

A subcommand is one function that adds its parser to the group and says with `set_defaults(run=…)` what is run:
a function of the parsed words that gives the exit status (0 = all is well). List it in `SUBCOMMANDS`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glipv2.check_command import add_check, add_preview
from glipv2.parser import Parser

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[Parser]

EXAMPLES = """\
examples
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


SUBCOMMANDS: tuple[Callable[[Group], None], ...] = (add_check, add_preview, _add_convert)


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
