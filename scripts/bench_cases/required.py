"""The table of what must hold: one function a row, ratios within one run."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bench_cases.bench import Bench
from bench_cases.clock import Timing
from bench_cases.floor import operations, products
from bench_cases.models import CHUNK, images, names
from bench_cases.passes import peak
from bench_cases.result import GIGABYTES, RATE, RATIO, Row, ratio_row
from bench_cases.unfolded import largest_difference, positions, random_pair, unfolded


@torch.inference_mode()
def three_names(bench: Bench) -> Iterator[Row]:
    """The whole pass from pixels to boxes, 9 tokens."""
    yield from _against_dino(bench, 3, 0.45, 0.30)


@torch.inference_mode()
def own_floor(bench: Bench) -> Iterator[Row]:
    """The whole pass beside the products that it can't do without, in turn."""
    batch, prompts = images(bench.full, bench.device), bench.detector.prompts(names(3))
    needed = operations(lambda: bench.detector(batch, prompts))
    squares = {f"product {index}": own for index, own in enumerate(products(bench.device))}
    times = bench.times(
        {"ours": lambda: bench.detector(batch, prompts), **{name: own.work for name, own in squares.items()}}
    )
    rounds = [
        min(times[name].seconds[index] / own.operations for name, own in squares.items()) * needed
        for index in range(len(times["ours"].seconds))
    ]
    times = {"ours": times["ours"], "floor": Timing(tuple(rounds))}
    yield ratio_row(
        "required", f"whole forward, {'×'.join(map(str, bench.full))}, 3 names, against its own floor", times, "ours",
        "floor", aim=2.0, note=f"{needed / 1e9:.0f} GFLOP",
    )  # fmt: skip


@torch.inference_mode()
def eighty_names(bench: Bench) -> Iterator[Row]:
    """The same with a prompt of 194 tokens."""
    yield from _against_dino(bench, 80, 0.75, 0.50)


def _against_dino(bench: Bench, count: int, must: float, aim: float) -> Iterator[Row]:
    batch, prompts = images(bench.full, bench.device), bench.detector.prompts(names(count))
    tokens = int(prompts[0].text.token_mask.sum())
    times = bench.times(
        {"ours": lambda: bench.detector(batch, prompts), "GroundingDINO-T": lambda: bench.dino(batch, prompts[0])}
    )
    size = "×".join(map(str, bench.full))
    name = f"GLIP-T, {size}, {count} names ({tokens} tokens), against GroundingDINO-T"
    yield ratio_row("required", name, times, "ours", "GroundingDINO-T", must=must, aim=aim)
    for way, timing in times.items():
        yield Row("speed", f"{way}, {size}, {count} names", 1 / timing.median, RATE)


@torch.inference_mode()
def fusion(bench: Bench) -> Iterator[Row]:
    """One layer of cross-attention, 9 tokens."""
    layer = bench.detector.core.fusion.layers[0].cross
    image, text, mask = random_pair(layer, positions(bench.full), 9)
    ways = {"ours": lambda: layer(image, text, mask), "unfolded": lambda: unfolded(layer, image, text, mask)}
    difference = largest_difference(ways["ours"](), ways["unfolded"]())
    yield ratio_row(
        "required", "fusion layer, 9 tokens, against the unfolded form padded to 256", bench.times(ways), "ours",
        "unfolded", must=0.06, aim=0.03, note=f"largest difference {difference:.1e}",
    )  # fmt: skip


@torch.inference_mode()
def large_vocabulary(bench: Bench) -> Iterator[Row]:
    """1203 names on one image, against a pass for each prompt; on a CPU at a smaller size, or it takes half an hour."""
    size = bench.size
    batch, detector = images(size, bench.device), bench.detector
    chunks, packed = detector.prompts(names(1203), CHUNK), detector.prompts(names(1203))
    ways = {
        "shared": lambda: detector(batch, chunks),
        "remembered": lambda: detector.remembered(batch, chunks),
        "independent": lambda: [detector(batch, [chunk]) for chunk in chunks],
        "packed": lambda: detector(batch, packed),
        "screened": lambda: detector.screened(batch, names(1203), packed, CHUNK),
    }
    # a round is minutes on a CPU, so that ways are warmed by a part of it, and texts read that are to be remembered
    detector.remembered(batch, chunks[:2])
    ways["screened"]()
    with detector.remembering():
        for chunk in chunks:
            detector.core.read(chunk.text)
    times = bench.times(ways, rounds=2 if bench.quick and not bench.on_gpu else 3, warm_up=0)
    where = "×".join(map(str, size))
    yield _against_passes(where, len(chunks), times)
    yield ratio_row(
        "required", f"the same of a further picture, against {len(chunks)} passes", times, "remembered", "independent",
        must=0.75, aim=0.65, note="texts remembered from the picture before, as with_vocabulary does",
    )  # fmt: skip
    yield ratio_row(
        "switches", f"1203 names at {where} in {len(packed)} full prompts, against {len(chunks)} passes", times,
        "packed", "independent",
    )  # fmt: skip
    yield ratio_row(
        "required", f"1203 names at {where}, screened to {CHUNK} (inexact), against {len(chunks)} passes", times,
        "screened", "independent", must=0.15, aim=0.08, note="texts remembered too",
    )  # fmt: skip


@torch.inference_mode()
def large_vocabulary_full(bench: Bench) -> Iterator[Row]:
    """The first row of `large_vocabulary` at the released size, which takes seven minutes a round on two cores."""
    if bench.size == bench.full and not bench.tiny:
        return
    batch, detector = images(bench.full, bench.device), bench.detector
    chunks = detector.prompts(names(1203), CHUNK)
    detector(batch, chunks[:2])
    ways = {
        "shared": lambda: detector(batch, chunks),
        "independent": lambda: [detector(batch, [chunk]) for chunk in chunks],
    }
    times = bench.times(ways, rounds=1 if bench.quick else 2, warm_up=0)
    where = "×".join(map(str, bench.full))
    yield _against_passes(where, len(chunks), times)


def _against_passes(where: str, passes: int, times: dict[str, Timing]) -> Row:
    name = f"1203 names at {where} in chunks of {CHUNK}, against {passes} passes"
    return ratio_row("required", name, times, "shared", "independent", must=0.75, aim=0.65)


def memory(bench: Bench) -> Iterator[Row]:
    """The most that one pass over one image holds, each model in a process of its own."""
    own, other = (peak(bench, name) for name in ("glip_t", "dino"))
    name = f"peak memory of one pass, {'×'.join(map(str, bench.full))}, 3 names, against GroundingDINO-T"
    yield Row("required", name, own / other, RATIO, 0.70, 0.50, note="weights included")
    yield Row("memory", "ours", own / 1e9, GIGABYTES)
    yield Row("memory", "GroundingDINO-T", other / 1e9, GIGABYTES)
