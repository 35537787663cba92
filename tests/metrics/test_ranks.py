"""Claim: two ranks give the numbers of one process. This file is also the program that starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from metric_samples import Row, Samples, every_metric, scores_of, update
from torch.multiprocessing.spawn import start_processes

Shares = tuple[list[Row], list[Row]]
EVERY = every_metric(4)
pytestmark = pytest.mark.slow


def scenarios(samples: Samples) -> dict[str, Shares]:
    """What each of two ranks sees."""
    rows = samples.rows
    return {
        "halves": (rows[::2], rows[1::2]),
        "padded by repeating": (rows[::2], [*rows[1::2], rows[0], rows[2]]),
        "second rank idle": (rows, []),
        "first rank idle": ([], rows),
        "nothing at all": ([], []),
    }


def rank_main(rank: int, folder: Path) -> None:
    """Scores of every metric and scenario as this rank computes them, as JSON; computed twice, once on the way."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    answers: dict[str, dict[str, dict[str, float]]] = {}
    for name, samples in EVERY.items():
        for scenario, shares in scenarios(samples).items():
            metric = samples.updated(shares[rank][:2])
            metric.compute()  # must leave each rank with its own rows, and an idle one ready for the next exchange
            update(metric, shares[rank][2:])
            answers.setdefault(name, {})[scenario] = scores_of(metric)
    (folder / f"rank{rank}.json").write_text(json.dumps(answers))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def answers_of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, dict[str, float]]]]:
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-W", "ignore", __file__, str(folder)], env=environment, timeout=600, check=True)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
@pytest.mark.parametrize("scenario", list(scenarios(next(iter(EVERY.values())))))
@pytest.mark.parametrize("name", list(EVERY))
def test_two_ranks_agree_with_one_process(
    name: str, scenario: str, answers_of_ranks: list[dict[str, dict[str, dict[str, float]]]]
) -> None:
    samples = EVERY[name]
    first, second = scenarios(samples)[scenario]
    alone = scores_of(samples.updated([*first, *second]))
    assert answers_of_ranks[0][name][scenario] == pytest.approx(alone, abs=1e-12)
    assert answers_of_ranks[1][name][scenario] == pytest.approx(alone, abs=1e-12)


if __name__ == "__main__":  # forked, so that torch is imported once and not by each rank
    torch.set_num_threads(1)  # a pool of threads does not outlive the fork
    start_processes(rank_main, args=(Path(sys.argv[1]),), nprocs=2, start_method="fork")
