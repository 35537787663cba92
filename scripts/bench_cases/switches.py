"""What each of our own switches gives: the same pass with and without it, and how far results move."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import torch
from torch import nn

from bench_cases.bench import Bench
from bench_cases.clock import Work
from bench_cases.models import CHUNK, Detector, images, names
from bench_cases.result import Row, ratio_row, skipped
from bench_cases.training import has_bf16
from glipv2.kernels import TEXTS_AT_ONCE
from glipv2.models import core


@torch.inference_mode()
def bf16(bench: Bench) -> Iterator[Row]:
    """Autocast to bfloat16 against float32."""
    if not (bench.on_gpu or has_bf16()):
        yield skipped("switches", "bf16", "this CPU has no bfloat16 products")
        return
    size = bench.size
    batch, prompts = images(size, bench.device), bench.detector.prompts(names(80))

    def mixed() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            bench.detector(batch, prompts)

    times = bench.times({"bf16": mixed, "float32": lambda: bench.detector(batch, prompts)})
    yield ratio_row("switches", f"bf16 at {size[0]}×{size[1]}, 80 names, against float32", times, "bf16", "float32")


@torch.inference_mode()
def tf32(bench: Bench) -> Iterator[Row]:
    """TF32 products, which GPUs have, against float32."""
    if not bench.on_gpu:
        return
    batch, prompts = images(bench.full, bench.device), bench.detector.prompts(names(80))
    times = bench.times(
        {
            "tf32": _with_tf32(lambda: bench.detector(batch, prompts)),
            "float32": lambda: bench.detector(batch, prompts),
        }
    )
    yield ratio_row("switches", "TF32 at 800×1333, 80 names, against float32", times, "tf32", "float32")


def _with_tf32(work: Work) -> Work:
    def done() -> None:
        set_tf32(True)
        try:
            work()
        finally:
            set_tf32(False)

    return done


def set_tf32(on: bool) -> None:
    """Products and convolutions in TF32, or in float32 as it is."""
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


@torch.inference_mode()
def channels_last(bench: Bench) -> Iterator[Row]:
    """Images and convolutions in channels-last memory, against the usual order."""
    size = bench.size
    batch, prompts = images(size, bench.device), bench.detector.prompts(names(3))
    last = _copy(bench).to(memory_format=torch.channels_last)
    times = bench.times(
        {"channels last": lambda: last(batch, prompts), "channels first": lambda: bench.detector(batch, prompts)}
    )
    yield ratio_row(
        "switches", f"channels-last weights at {size[0]}×{size[1]}, 3 names", times, "channels last", "channels first"
    )


def _copy(bench: Bench) -> nn.Module:

    return Detector("glip_t", bench.device).eval()


@torch.inference_mode()
def prompts_together(bench: Bench) -> Iterator[Row]:
    """`nano` at 128 px, 300 names in prompts of 20, fused together against one after the other."""
    detector = Detector("nano", bench.device).eval()
    batch, prompts = images((128, 128), bench.device), detector.prompts(names(300), 20)

    def alone() -> None:
        with mock.patch.object(core, "prompts_at_once", lambda *_: 1):
            detector(batch, prompts)

    times = bench.times({"together": lambda: detector(batch, prompts), "alone": alone})
    name = f"nano at 128×128, {len(prompts)} prompts of 20 names fused together, against one after the other"
    yield ratio_row("switches", name, times, "together", "alone")


@torch.inference_mode()
def texts_together(bench: Bench) -> Iterator[Row]:
    """GLIP-T's text encoder on the prompts of 640 names in chunks of 40, eight of a length together, or one by one."""
    reader = bench.detector.core
    texts = [prompt.text for prompt in bench.detector.prompts(names(640), CHUNK)]
    times = bench.times(
        {
            "together": lambda: reader.read_each(texts, 1, TEXTS_AT_ONCE),
            "alone": lambda: reader.read_each(texts, 1, at_once=1),
        }
    )
    name = f"GLIP-T's text encoder, {len(texts)} prompts of {CHUNK} names, {TEXTS_AT_ONCE} together, against one by one"
    yield ratio_row("switches", name, times, "together", "alone")


@torch.inference_mode()
def compiled(bench: Bench) -> Iterator[Row]:
    """torch.compile of the image encoder and the tower, against none."""
    size = bench.size
    batch, prompts = images(size, bench.device), bench.detector.prompts(names(3))
    detector = _copy(bench)
    try:
        for part in (detector.core.image, detector.core.fusion):
            part.compile(dynamic=False)
        detector(batch, prompts)
    except Exception as error:
        yield skipped("switches", "compile", f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
        return
    times = bench.times({"compiled": lambda: detector(batch, prompts), "eager": lambda: bench.detector(batch, prompts)})
    yield ratio_row(
        "switches", f"torch.compile at {size[0]}×{size[1]}, 3 names, against none", times, "compiled", "eager"
    )
