"""Peak memory of one pass, weights included: of a process on a CPU, of the allocator on a GPU."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from bench_cases.bench import Bench
from glipv2.facts import peak_of_process

SCRIPT = Path(__file__).parents[1] / "bench.py"


class Cost(NamedTuple):
    """Of the second of two passes; peak: bytes held at most in both."""

    seconds: float
    peak: float


def cost_in_a_process(bench: Bench, name: str) -> Cost:
    """Of one of `PASSES` in a process of its own, on the CPU."""
    options = ["--threads", str(torch.get_num_threads()), *(["--tiny"] if bench.tiny else [])]
    command = [sys.executable, str(SCRIPT), "--cost-of", name, *options]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak = told.splitlines()[-1].split()
    return Cost(float(seconds), float(peak))


def cost_here(work: Callable[[], Any]) -> Cost:
    """Of work in this process, with everything that it holds."""
    work()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    peak = peak_of_process()
    if peak is None:
        raise RuntimeError("this system does not tell what a process has held")
    return Cost(seconds, peak)


def peak_on_gpu(module: nn.Module, work: Callable[[], Any]) -> float:
    """Bytes on the GPU at most during a call, without what other models hold there."""
    work()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    weights = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    return torch.cuda.max_memory_allocated() - before + weights
