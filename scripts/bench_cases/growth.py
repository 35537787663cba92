"""How time grows with the image, the prompt, the vocabulary and the batch, with the floor drawn in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from bench_cases.bench import Bench
from bench_cases.clock import Timing, Work
from bench_cases.floor import operations
from bench_cases.models import images, names
from bench_cases.result import SECONDS, Row
from glipv2.structures import ImageBatch, PromptBatch

SHORT_SIDES = (400, 600, 800)  # the long one is 5/3 of it, at most 1333
TOKENS = (3, 9, 32, 64, 128, 194, 256)
VOCABULARIES = (3, 80, 365, 1203)
BATCHES = (1, 2, 4, 8)


@torch.inference_mode()
def by_image(bench: Bench) -> Iterator[Row]:
    """80 names on images of 400×667 to 800×1333."""
    for side in (bench.full[0],) if bench.tiny else SHORT_SIDES:
        size = (side, min(side * 5 // 3, bench.full[1]))
        (prompt,) = bench.detector.prompts(names(80))
        yield from _point(bench, "image", "long side in pixels", size[1], images(size, bench.device), prompt)


@torch.inference_mode()
def by_prompt(bench: Bench) -> Iterator[Row]:
    """3 to 256 tokens."""
    size = bench.size
    for tokens in TOKENS[:: 3 if bench.quick else 1]:
        (prompt,) = bench.detector.prompts(_names_of(bench, tokens))
        at = int(prompt.text.token_mask.sum())
        yield from _point(bench, "prompt", "tokens", at, images(size, bench.device), prompt)


def _names_of(bench: Bench, tokens: int) -> Sequence[str]:
    """The first names whose prompt has at most so many tokens; "dog" alone has three."""
    if tokens == 3:
        return ("dog",)
    chosen: list[str] = []
    used = 1  # [CLS] and [SEP], without the first separator
    for name in names(3) if tokens == 9 else names(365):
        used += bench.detector.tokenizer.count(name) + 1
        if used > tokens:
            break
        chosen.append(name)
    return chosen


@torch.inference_mode()
def by_batch(bench: Bench) -> Iterator[Row]:
    """1 to 8 images at once, 3 names."""
    size = bench.size
    for count in BATCHES[:: 3 if bench.quick else 1]:
        (prompt,) = bench.detector.prompts(names(3), count=count)
        yield from _point(bench, "batch", "images", count, images(size, bench.device, count), prompt)


@torch.inference_mode()
def by_vocabulary(bench: Bench) -> Iterator[Row]:
    """3 to 1203 names on one image, in chunks of 40 and in full prompts; the last once, warmed by those before."""
    size = bench.size
    batch = images(size, bench.device)
    for count in VOCABULARIES[:-1] if bench.quick and not bench.on_gpu else VOCABULARIES:
        ways = {}
        for way, most in (("GLIP-T, chunks of 40", 40), ("GLIP-T, full prompts", 0)):
            prompts = bench.detector.prompts(names(count), most)
            ways[way] = lambda prompts=prompts: bench.detector(batch, prompts)
        long = count == VOCABULARIES[-1] and not bench.on_gpu
        times = bench.times(ways, rounds=None if bench.on_gpu else 1 if long else 2, warm_up=0 if long else 1)
        yield from _rows("vocabulary", "names", count, times)
        needed = operations(ways["GLIP-T, full prompts"])
        yield _floor(bench, "vocabulary", "names", count, needed)


def _point(bench: Bench, curve: str, axis: str, at: float, batch: ImageBatch, prompt: PromptBatch) -> Iterator[Row]:
    ways: dict[str, Work] = {
        "GLIP-T": lambda: bench.detector(batch, [prompt]),
        "GroundingDINO-T": lambda: bench.dino(batch, prompt),
    }
    yield from _rows(curve, axis, at, bench.times(ways, rounds=None if bench.on_gpu else 2))
    yield _floor(bench, curve, axis, at, operations(ways["GLIP-T"]))


def _rows(curve: str, axis: str, at: float, times: dict[str, Timing]) -> Iterator[Row]:
    for way, timing in times.items():
        yield Row(
            f"growth by {curve}", way, timing.median, SECONDS, ways={way: timing.seconds}, curve=axis, at=float(at)
        )


def _floor(bench: Bench, curve: str, axis: str, at: float, needed: int) -> Row:
    note = f"{needed / 1e9:.0f} GFLOP"
    return Row(
        f"growth by {curve}", "GLIP-T's floor", needed / bench.peak, SECONDS, note=note, curve=axis, at=float(at)
    )
