"""Training steps: forward, losses, backward, clipping and optimiser, of `nano` and of GLIP-T."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from subprocess import CalledProcessError

import torch
from torch import Tensor

from bench_cases.bench import Bench
from bench_cases.memory import cost_in_a_process, peak_on_gpu
from bench_cases.models import Detector, images, names
from bench_cases.result import GIGABYTES, RATE, SECONDS, Row, skipped
from glipv2.data.prompts import TOKEN_STEP
from glipv2.optim import OptimConfig
from glipv2.structures import RegionTargets
from glipv2.structures.batches import PromptBatch

BOXES = 8  # an image
RELEASED_BATCH = (2, 80)  # images and names of a step of GLIP-T on one device


class Training:
    """A detector in training and one batch; `step` is one optimiser step on it."""

    def __init__(self, preset: str, device: torch.device, size: tuple[int, int], count: int, asked: int) -> None:
        torch.manual_seed(0)
        self.detector = Detector(preset, device).train()
        self.detector.to(memory_format=torch.channels_last)  # as `trainer.channels_last` does
        self.device = device
        self.images = images(size, device, count)
        (self.prompts,) = self.detector.prompts(names(asked), count=count, step=TOKEN_STEP)
        self.targets = random_targets(self.prompts, size)
        self.optimizer, _ = OptimConfig(warmup_steps=0).build(self.detector, 1000)
        self.parameters = [one for one in self.detector.parameters() if one.requires_grad]

    def step(self, precision: torch.dtype = torch.float32) -> Tensor:
        """The loss before the step."""
        mixed = torch.autocast(self.device.type, precision) if precision != torch.float32 else nullcontext()
        with mixed:
            levels = self.detector.core.image(self.images.pixels)
            terms = self.detector.grounding.step(levels, self.prompts, self.targets, None).terms
            loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def random_targets(prompts: PromptBatch, size: tuple[int, int]) -> RegionTargets:
    """Boxes of all sizes, each named by one of the prompt's phrases."""
    count, phrases, _ = prompts.phrase_map.shape
    generator = torch.Generator().manual_seed(0)
    height, width = size
    corners = torch.rand(count, BOXES, 2, generator=generator) * torch.tensor([width, height]) * 0.7
    sides = torch.rand(count, BOXES, 2, generator=generator) * torch.tensor([width, height]) * 0.25 + 8
    boxes = torch.cat([corners, corners + sides], dim=-1).to(prompts.phrase_map.device)
    named = torch.arange(BOXES) % phrases
    mask = torch.ones(count, BOXES, dtype=torch.bool, device=boxes.device)
    return RegionTargets(boxes, mask, prompts.phrase_map[:, named])


def nano_step(bench: Bench) -> Iterator[Row]:
    """`nano`, batch 16 at 128 px, 20 names: the demo's training."""
    size, count = (bench.full, 2) if bench.tiny else ((128, 128), 16)
    yield from _step(bench, "nano", size, count, 20)


def glip_t_step(bench: Bench) -> Iterator[Row]:
    """GLIP-T, batch 2, 80 names, at the released size on a GPU and at a smaller one on a CPU."""
    yield from _step(bench, "glip_t", bench.size, *RELEASED_BATCH)


def glip_t_step_full(bench: Bench) -> Iterator[Row]:
    """The same at the released size on a CPU, blocks kept and recomputed, each in a process of its own: minutes."""
    if bench.on_gpu:
        return
    count, asked = RELEASED_BATCH
    for way, kept, needed in (("glip_t_step_recomputed", "blocks recomputed", 12), ("glip_t_step", "blocks kept", 32)):
        name = f"glip_t, batch {count} at {'×'.join(map(str, bench.full))}, {asked} names, float32, {kept}"
        if not bench.tiny and memory_here() < needed * 1e9:
            yield skipped("training", name, f"wants a machine of {needed} GB or more")
            continue
        try:
            cost = cost_in_a_process(bench, way)
        except CalledProcessError as error:
            yield skipped("training", name, f"ended with status {error.returncode}: too little memory?")
            continue
        yield Row("training", f"{name}: one step", cost.seconds, SECONDS)
        yield Row("training", f"{name}: peak memory of the process", cost.peak / 1e9, GIGABYTES)


def _step(bench: Bench, preset: str, size: tuple[int, int], count: int, asked: int) -> Iterator[Row]:
    name = f"{preset}, batch {count} at {size[0]}×{size[1]}, {asked} names"
    training = Training(preset, bench.device, size, count, asked)
    ways: dict[str, Callable[[], Tensor]] = {"float32": training.step}
    if bench.on_gpu or has_bf16():
        ways["bf16 mixed"] = lambda: training.step(torch.bfloat16)
    for way, timing in bench.times(ways, rounds=None if bench.on_gpu or preset == "nano" else 2).items():
        yield Row("training", f"{name}, {way}: one step", timing.median, SECONDS, ways={way: timing.seconds})
        yield Row("training", f"{name}, {way}", count / timing.median, RATE)
        if bench.on_gpu:
            held = peak_on_gpu(training.detector, ways[way])
            yield Row("training", f"{name}, {way}: peak memory without optimiser state", held / 1e9, GIGABYTES)


def memory_here() -> float:
    """Bytes of this machine; no end of them where it does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def has_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16 itself; without that it is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
