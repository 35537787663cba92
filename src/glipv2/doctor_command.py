"""The words of `glipv2 doctor`. Imports nothing heavy at the top."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from glipv2.parser import Parser

if TYPE_CHECKING:
    from glipv2.doctor import Section

HELP = """\
Says what is installed, on what it runs, which kernels are taken, which extras are missing and how to get them, and
whether the model hub answers. Holds no path, name or secret: paste it into an issue. Ends with 1 where something is
broken.
"""


def doctor_command(arguments: Sequence[str]) -> int:
    """`glipv2 doctor [--json]`; the exit status."""
    parser = Parser(prog="glipv2 doctor", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="for machines")
    words = parser.parse_args(arguments)
    from glipv2.doctor import as_json, examined

    sections = []
    for section in examined():
        sections.append(section)
        if not words.json:
            print(*_lines(section), "", sep="\n", flush=True)
    told = as_json(sections)
    if words.json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print("\n".join(f"problem: {problem}" for problem in told["problems"]) or "everything that is needed is here")
    return 1 if told["problems"] else 0


def _lines(section: Section) -> list[str]:
    width = max(map(len, section.rows), default=0)
    return [section.title, *(f"  {name:{width}}  {value}" for name, value in section.rows.items())]
