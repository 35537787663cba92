"""`glipv2 data …`: looks after files of annotations. Imports nothing heavy until a file is read.

A subcommand is one function that adds its parser to the group and says with `set_defaults(run=…)` what is run:
a function of the parsed words that gives the exit status (0 = all is well). List it in `SUBCOMMANDS`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from glipv2.check_command import add_benchmark, add_check, add_preview
from glipv2.parser import Parser

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[Parser]

EXAMPLES = """\
examples
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


SUBCOMMANDS: tuple[Callable[[Group], None], ...] = (add_check, add_preview, add_benchmark)


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
