"""The claims' sweeps on one page.

    glipv2 train -m experiment=claims/losses         # runs/claims/losses
    python scripts/claims.py collect losses          # docs/results/losses.csv
    python scripts/claims.py keep transfer_full      # what its trials still do on the world that they come from
    python scripts/claims.py prompt fusion_contrast  # what its trials' prompts alone can learn of another world
    python scripts/claims.py render                  # docs/results.md and its pictures

A sweep whose trials have not all ended is refused. What is compared with what stands in scripts/claims.yaml.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from claim_results.page import page, read_claims
from claim_results.rows import KEPT, PROMPTED, trials_in, write_rows

from glipv2.cli import main as glipv2
from glipv2.errors import UserError
from glipv2.report.run import RunFolder

TOP = Path(__file__).resolve().parents[1]
CLAIMS = TOP / "scripts/claims.yaml"
OLD_WORLD = ("data=shapes", "data.max_objects=4", "data.eval_scenes=200", "data.workers=0", "gallery=0")


def main(words: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    collect = ways.add_parser("collect", help="a sweep's numbers into a small table")
    collect.add_argument("names", nargs="+", help="of experiments below claims/")
    collect.add_argument("--runs", type=Path, default=Path("runs/claims"), help="where their sweeps are")
    keep = ways.add_parser("keep", help="what a sweep's weights still do on the scenes that they were first trained on")
    keep.add_argument("names", nargs="+", help="of experiments below claims/")
    keep.add_argument("--runs", type=Path, default=Path("runs/claims"), help="where their sweeps are")
    prompt = ways.add_parser("prompt", help="a sweep's weights with their prompts tuned to another world")
    prompt.add_argument("names", nargs="+", help="of experiments below claims/")
    prompt.add_argument("--runs", type=Path, default=Path("runs/claims"), help="where their sweeps are")
    for way in (collect, ways.add_parser("render", help="the page of all tables")):
        way.add_argument("--docs", type=Path, default=TOP / "docs")
    given = parser.parse_args(words)
    try:
        if given.way == "collect":
            for name in given.names:
                write_rows(given.docs / "results" / f"{name}.csv", trials_in(given.runs / name))
        elif given.way in ("keep", "prompt"):
            for name in given.names:
                (measure_kept if given.way == "keep" else tune_prompts)(given.runs / name)
        else:
            text = page(read_claims(CLAIMS), given.docs / "results", given.docs / "pictures")
            (given.docs / "results.md").write_text(text, "utf-8")
    except UserError as error:
        sys.exit(f"error: {error}")


def measure_kept(sweep: Path) -> None:
    """Evaluates the weights of every trial on scenes of shapes; what was measured before stays."""
    for trial in _unmeasured(sweep, KEPT):
        glipv2(["evaluate", f"weights={trial}", f"output={trial / KEPT}", *OLD_WORLD])


def tune_prompts(sweep: Path) -> None:
    """Tunes the prompts of every trial's weights to the world of signs; what was measured before stays."""
    for trial in _unmeasured(sweep, PROMPTED):
        seed = RunFolder.read(trial).config["seed"]
        words = ("experiment=claims/prompt_of_trial", f"weights={trial}", f"seed={seed}", f"output={trial / PROMPTED}")
        glipv2(["train", *words])


def _unmeasured(sweep: Path, part: str) -> list[Path]:
    found = sorted(path.parent for path in sweep.glob("*/weights.safetensors"))
    return [trial for trial in found if not (trial / part / "metrics.json").is_file()]


if __name__ == "__main__":
    main()
