"""Peak memory of one pass, weights included: of a process on a CPU, of the allocator on a GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench_cases.bench import Bench
from bench_cases.models import bert_tokenizer, images, names, prompt_batches
from glipv2.facts import peak_of_process

SCRIPT = Path(__file__).parents[1] / "bench.py"


def peaks(bench: Bench, models: Sequence[str]) -> list[float]:
    """Bytes of each model by its name in `PASSES`."""
    if bench.on_gpu:
        return [peak_on_gpu(*PASSES[model](bench)) for model in models]
    threads = ["--threads", str(torch.get_num_threads()), *(["--tiny"] if bench.tiny else [])]
    found = []
    for model in models:
        command = [sys.executable, str(SCRIPT), "--peak-of", model, *threads]
        found.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]))
    return found


def peak_here(bench: Bench, model: str) -> float:
    """Bytes that this process has held at most after two passes of the model."""
    _, work = PASSES[model](bench)
    for _ in range(2):
        work()
    peak = peak_of_process()
    if peak is None:
        raise RuntimeError("this system does not tell what a process has held")
    return peak


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


def _glip_t(bench: Bench) -> tuple[nn.Module, Callable[[], Any]]:
    prompts, batch = bench.detector.prompts(names(3)), images(bench.full, bench.device)
    return bench.detector, torch.inference_mode()(lambda: bench.detector(batch, prompts))


def _dino(bench: Bench) -> tuple[nn.Module, Callable[[], Any]]:
    (prompt,) = prompt_batches(bert_tokenizer(), names(3), bench.device)
    batch = images(bench.full, bench.device)
    return bench.dino, torch.inference_mode()(lambda: bench.dino(batch, prompt))


PASSES: dict[str, Callable[[Bench], tuple[nn.Module, Callable[[], Any]]]] = {"glip_t": _glip_t, "dino": _dino}
