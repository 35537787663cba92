"""The claims' sweeps on one page.

    glipv2 train -m experiment=claims/losses      # runs/claims/losses
    python scripts/claims.py collect losses       # docs/results/losses.csv
    python scripts/claims.py render               # docs/results.md and its pictures

A sweep whose trials have not all ended is refused. What is compared with what stands in scripts/claims.yaml.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from claim_results.page import page, read_claims
from claim_results.rows import trials_in, write_rows

from glipv2.errors import UserError

TOP = Path(__file__).resolve().parents[1]
CLAIMS = TOP / "scripts/claims.yaml"


def main(words: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    collect = ways.add_parser("collect", help="a sweep's numbers into a small table")
    collect.add_argument("names", nargs="+", help="of experiments below claims/")
    collect.add_argument("--runs", type=Path, default=Path("runs/claims"), help="where their sweeps are")
    for way in (collect, ways.add_parser("render", help="the page of all tables")):
        way.add_argument("--docs", type=Path, default=TOP / "docs")
    given = parser.parse_args(words)
    try:
        if given.way == "collect":
            for name in given.names:
                write_rows(given.docs / "results" / f"{name}.csv", trials_in(given.runs / name))
        else:
            text = page(read_claims(CLAIMS), given.docs / "results", given.docs / "pictures")
            (given.docs / "results.md").write_text(text, "utf-8")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
