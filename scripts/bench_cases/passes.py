"""Passes and steps whose memory is taken, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from bench_cases.bench import Bench
from bench_cases.memory import cost_in_a_process, peak_on_gpu
from bench_cases.models import bert_tokenizer, images, names, prompt_batches
from bench_cases.training import RELEASED_BATCH, Training
from glipv2.models.recompute import PARTS, recompute_blocks


def peak(bench: Bench, name: str) -> float:
    """Bytes of one of `PASSES`."""
    return peak_on_gpu(*PASSES[name](bench)) if bench.on_gpu else cost_in_a_process(bench, name).peak


def _glip_t(bench: Bench) -> tuple[nn.Module, Callable[[], Any]]:
    prompts, batch = bench.detector.prompts(names(3)), images(bench.full, bench.device)
    return bench.detector, torch.inference_mode()(lambda: bench.detector(batch, prompts))


def _dino(bench: Bench) -> tuple[nn.Module, Callable[[], Any]]:
    (prompt,) = prompt_batches(bert_tokenizer(), names(3), bench.device)
    batch = images(bench.full, bench.device)
    return bench.dino, torch.inference_mode()(lambda: bench.dino(batch, prompt))


def _glip_t_step(bench: Bench, recomputed: Sequence[str]) -> tuple[nn.Module, Callable[[], Any]]:
    training = Training("glip_t", bench.device, bench.full, *RELEASED_BATCH)
    recompute_blocks(training.detector.core, recomputed)
    return training.detector, training.step


PASSES: dict[str, Callable[[Bench], tuple[nn.Module, Callable[[], Any]]]] = {
    "glip_t": _glip_t,
    "dino": _dino,
    "glip_t_step": lambda bench: _glip_t_step(bench, ()),
    "glip_t_step_recomputed": lambda bench: _glip_t_step(bench, PARTS),
}
