"""Holds the metrics against other people's evaluators: every case of every oracle folder under DIR.

python scripts/oracles.py DIR [--folder NAME …] [--brief]

Prints, for each number expected, what is expected, what is measured and how far they are apart, then a summary of
each folder and, as its last line, max_abs_diff=…. Exit status 1 where a number is beyond its tolerance: 1e-6, and
1e-4 for captions that this project's tokenizer splits otherwise than the oracle's; also where a folder is unreadable.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from oracle_cases.case import Case, Row, rows_of
from oracle_cases.detection import coco_cases, lvis_cases
from oracle_cases.grounding import flickr_cases, phrasecut_cases, refcoco_cases
from oracle_cases.language import caption_cases, vqa_cases

from glipv2.errors import UserError

READERS: Mapping[str, Callable[[Path], Iterator[Case]]] = {
    "captions": caption_cases,
    "coco_detection": coco_cases,
    "flickr30k_entities": flickr_cases,
    "lvis": lvis_cases,
    "phrasecut": phrasecut_cases,
    "refcoco": refcoco_cases,
    "vqa": vqa_cases,
}


def folder_rows(folder: Path) -> Iterator[tuple[Case, list[Row]]]:
    """Every case of an oracle folder with its numbers."""
    for case in READERS[folder.name](folder):
        yield case, list(rows_of(case))


def check(folder: Path, brief: bool) -> list[Row]:
    """Prints one folder; its rows."""
    begin, rows = time.perf_counter(), list[Row]()
    for case, own in folder_rows(folder):
        rows += own
        if case.note:
            print(f"{folder.name}/{case.name}: {case.note}")
        for row in own:
            if not brief or row.difference > row.tolerance:
                print(f"{folder.name}/{line_of(row)}")
    measured = [row for row in rows if not math.isnan(row.measured)]
    beyond = [row for row in rows if row.difference > row.tolerance]
    largest = max((row.difference for row in rows), default=0.0)
    print(
        f"== {folder.name}: {len(measured)} numbers, largest difference {largest:.1e}, {len(beyond)} beyond tolerance, "
        f"{time.perf_counter() - begin:.1f} s"
    )
    for why, count in Counter(row.why for row in rows if row.why).items():
        print(f"   {count} x {why}")
    return rows


def line_of(row: Row) -> str:
    """One row in words."""
    if math.isnan(row.measured):
        return f"{row.name}: {row.why or 'expected, but not measured'}"
    mark = "  BEYOND" if row.difference > row.tolerance else ""
    return f"{row.name}: expected {row.expected:.10g}, measured {row.measured:.10g}, off by {row.difference:.1e}{mark}"


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--folder", nargs="+", choices=sorted(READERS), help="only these")
    parser.add_argument("--brief", action="store_true", help="only numbers beyond tolerance, and the summaries")
    options = parser.parse_args()
    there = {path.name: path for path in sorted(options.directory.glob("*")) if path.is_dir()}
    asked = options.folder or sorted(READERS)
    if not set(asked) & set(there):
        print(f"error: {options.directory} has none of the folders {', '.join(asked)}", file=sys.stderr)
        return 2
    rows, readable = list[Row](), True
    for name in asked:
        if name not in there:
            print(f"== {name}: MISSING from {options.directory}")
            continue
        try:
            rows += check(there[name], options.brief)
        except (UserError, KeyError, TypeError) as error:
            readable = False
            print(f"== {name}: UNREADABLE, not of the layout that its README describes: {error!r}")
    for name in sorted(set(there) - set(READERS)):
        print(f"== {name}: EXTRA, no metric of this project is held to it")
    print(f"max_abs_diff={max((row.difference for row in rows), default=math.inf):.3e}")
    return int(not readable or not rows or any(row.difference > row.tolerance for row in rows))


if __name__ == "__main__":
    sys.exit(main())
