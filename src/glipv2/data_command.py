"""`glipv2 data …`: looks after files of annotations. Imports nothing heavy until a file is read.

A subcommand is one function that adds its parser to the group and says with `set_defaults(run=…)` what is run:
a function of the parsed words that gives the exit status (0 = all is well). List it in `SUBCOMMANDS`.
"""

from __future__ import annotations

import argparse
import os
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
PACK_HELP = """\
Writes pictures and annotations as tar archives, for every task that the data can serve, to be trained from with
data=packed data.path=DIR (or an address: https://, s3://, …). Takes a PATH of any layout that is read, or the words of
glipv2 train. A killed run goes on where it stopped when the same words are given again.

  glipv2 data pack voc -o packed
  glipv2 data pack data=coco data.train.images=photos data.train.annotations=train.json -o packed --shard-mib 256
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


def _add_pack(group: Group) -> None:
    parser = group.add_parser(
        "pack", help="write shards to train from, from a disk or an object store", description=PACK_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("words", metavar="PATH|KEY=VALUE", nargs="+", help="what to pack")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="a new folder")
    parser.add_argument("--splits", metavar="NAME", nargs="+", default=[], help="those to pack (all that there are)")
    parser.add_argument("--shard-mib", metavar="N", type=float, default=128, help="size of a shard (128)")
    parser.add_argument("--workers", metavar="N", type=int, default=os.cpu_count() or 1, help="processes that read")
    parser.set_defaults(run=_pack)


def _pack(words: argparse.Namespace) -> int:
    from glipv2.data.shards.writing import PackConfig
    from glipv2.packing import pack_words

    index = pack_words(words.words, words.output, words.splits, PackConfig(int(words.shard_mib * 2**20), words.workers))
    for name, split in index.splits.items():
        size = sum(shard.bytes for shard in split.shards) / 2**20
        pictures = sum(shard.pictures for shard in split.shards)
        views = ", ".join(f"{view.count} with {' and '.join(view.needs)}" for view in split.views)
        left_out = f"; {len(split.left_out)} broken pictures left out" if split.left_out else ""
        print(f"{name}: {pictures} pictures, {views}; {len(split.shards)} shards, {size:.1f} MiB{left_out}")
    print(f"wrote {words.output}; train from it with data=packed data.path={words.output}")
    return 0


SUBCOMMANDS: tuple[Callable[[Group], None], ...] = (
    add_check,
    add_preview,
    add_benchmark,
    _add_convert,
    _add_label,
    _add_pack,
)


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
