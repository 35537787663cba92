"""Times this project against GroundingDINO-T and against itself, and writes docs/performance.md.

    python scripts/bench.py                                  # every case on this machine; long
    python scripts/bench.py --quick --only required          # the table of what must hold
    python scripts/bench.py --device cuda --quick --json gpu.json
    python scripts/bench.py --render docs/benchmarks/*.json  # the page, from what was measured before

Models have random weights of seed 0 and need no file and no network. Ways of the same work run in turn (A B A B …)
within one process, after a warm-up; a number is the median of its rounds, a ratio the median over neighbouring rounds.
float32 means float32: TF32 is off. A row is told and written as soon as it is there, so a run that is stopped keeps
what it has.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from bench_cases import deformable, growth, required, switches, training
from bench_cases.bench import Bench
from bench_cases.memory import cost_here
from bench_cases.page import told, write_page
from bench_cases.passes import PASSES
from bench_cases.record import Record, rendered
from bench_cases.result import Row, skipped

Case = Callable[[Bench], Iterator[Row]]
GROUPS: dict[str, tuple[Case, ...]] = {
    "required": (
        required.three_names, required.eighty_names, required.fusion, deformable.deformable, required.large_vocabulary,
        required.large_vocabulary_full, required.memory, required.own_floor,
    ),
    "training": (training.nano_step, training.glip_t_step, training.glip_t_step_full),
    "switches": (
        switches.bf16, switches.tf32, switches.channels_last, switches.compiled, switches.prompts_together,
        switches.texts_together,
    ),
    "growth": (growth.by_image, growth.by_prompt, growth.by_batch, growth.by_vocabulary),
}  # fmt: skip
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
RECORDS = ROOT / "docs" / "benchmarks"


def main() -> int:
    """The exit status."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.render is not None:
        write_page(PAGE, rendered(options.render or sorted(RECORDS.glob("*.json"))))
        return 0
    switches.set_tf32(False)
    bench = Bench(torch.device(options.device), options.quick, options.rounds or _rounds(options), options.tiny)
    if options.cost_of:
        _, work = PASSES[options.cost_of](bench)
        print(*cost_here(work))
        return 0
    record = Record.here(bench, options.json)
    for case in _chosen(options.only):
        for row in _rows(case, bench):
            print(told(row), flush=True)
            record.add(row)
    print(f"written to {record.path}")
    return 0


def _rows(case: Case, bench: Bench) -> Iterator[Row]:
    """A case that fails says so in a row: the others still run."""
    begun = time.perf_counter()
    try:
        yield from case(bench)
    except (RuntimeError, torch.OutOfMemoryError) as error:
        yield skipped("failed", case.__name__, f"{type(error).__name__}: {str(error).splitlines()[0][:160]}")
    print(f"  ({case.__name__}: {time.perf_counter() - begun:.1f} s)", file=sys.stderr, flush=True)


def _chosen(only: list[str]) -> list[Case]:
    cases = {case.__name__: [case] for group in GROUPS.values() for case in group}
    known = {**cases, **{name: list(group) for name, group in GROUPS.items()}}
    strange = [name for name in only if name not in known]
    if strange:
        sys.exit(f"error: no case '{strange[0]}'; there are {', '.join(known)}")
    return [case for name in only or list(GROUPS) for case in known[name]]


def _rounds(options: argparse.Namespace) -> int:
    """A GPU's rounds are short and a CPU's long."""
    if options.device == "cpu":
        return 2 if options.quick else 4
    return 5 if options.quick else 10


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help=f"groups ({', '.join(GROUPS)}) or cases")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and points")
    parser.add_argument(
        "--tiny", action="store_true", help="tiny images: does everything run? Its numbers mean nothing"
    )
    parser.add_argument("--rounds", type=int, help="of each way")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "0")))
    parser.add_argument("--json", type=Path, default=ROOT / "runs" / "bench" / "bench.json", help="where rows go")
    parser.add_argument("--render", nargs="*", type=Path, metavar="JSON", help="write the page from these, run nothing")
    parser.add_argument("--cost-of", choices=sorted(PASSES), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
