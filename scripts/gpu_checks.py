"""What only a GPU can tell: every task in three precisions, and the memory and speed of GLIP-T's training steps.

    python scripts/gpu_checks.py --json gpu_checks.json          # under four minutes on an H100, no network
    python scripts/gpu_checks.py --device cpu --steps 4 --sides 96 160 --batches 1 --model nano   # tried anywhere

Needs the project importable (PYTHONPATH=src) and nothing else: weights are random, BERT is built from its config.
Every row is printed as soon as it is known; a row that would begin after --seconds is left out and said so.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import logging
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from glipv2.arguments import composed
from glipv2.config import SCHEMAS, TrainConfig
from glipv2.data.coco_names import COCO
from glipv2.data.collate import TrainingCollator
from glipv2.data.mixing import RoutedBatch
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.data.transforms import Example, ExampleDataset
from glipv2.data.truths import truth_of
from glipv2.models import ModelConfig
from glipv2.structures import DetectionBatch, Instances, Sample
from glipv2.tasks.base import Task
from glipv2.train import build_task

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
BATCH = 16
POOL = 24  # batches that a training goes round in: made once, so that the GPU never waits for the data


@dataclass
class Clock:
    """Wall time since the script began, and the time after which nothing more is begun."""

    limit: float
    begun: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self.begun

    @property
    def is_over(self) -> bool:
        """Whether no further row may begin."""
        return self.seconds > self.limit


@dataclass(frozen=True)
class Rounds:
    """The same batches again and again, in order."""

    batches: Sequence[Any]
    steps: int

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(itertools.cycle(self.batches), self.steps)


class LossCurve(pl.Callback):
    """Every step's loss, fetched from the device at the end."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        self.losses.append(loss.detach().float())

    def mean(self, first: int, last: int) -> float:
        """Of a stretch of the steps, from the end where negative."""
        part = self.losses[first : last or None]
        return float(torch.stack(part).mean())


# Every task in three precisions


def trained_in_each(names: Sequence[str], steps: int, device: str, clock: Clock) -> Iterator[dict[str, Any]]:
    """First and last losses of each task in each precision, from the same weights over the same batches."""
    for name in names:
        config = _task_config(name)
        batches = _batches(config, min(POOL, steps))
        row: dict[str, Any] = {"task": name, "steps": steps}
        for precision in PRECISIONS:
            if clock.is_over:
                row[precision] = "left out: time is over"
                continue
            if precision == "16-mixed" and device == "cpu":
                row[precision] = "GPU only"
                continue
            row[precision] = _trained(config, batches, steps, precision, device)
        yield row


def _task_config(name: str) -> TrainConfig:
    words = [f"task={'shapes_joint' if name == 'joint' else name}", "model=nano", "loss=glipv2", "optim=nano"]
    words += [f"data.batch_size={BATCH}", "data.train_scenes=2000", "data.train_questions=8", "data.image_size=128"]
    return composed([*words, "data.prompts.max_names=20", "tracking=off"])


def _batches(config: TrainConfig, count: int) -> list[Any]:
    """Batches of the task; of a joint one, batches of its tasks in turn."""
    made: dict[str, list[Any]] = {}
    streams = config.task.streams()
    each = -(-count // len(streams))
    for name, stream in streams.items():
        samples = config.data.dataset("train", stream.task.needs)
        collate = stream.task.collator(config.model, config.data, samples, True)
        examples = ExampleDataset(samples, config.model.pixels, config.data.augment)
        torch.manual_seed(0)
        rows = [range(start * BATCH, (start + 1) * BATCH) for start in range(each)]
        made[name] = [collate([examples[index] for index in own]) for own in rows]
    if len(streams) == 1:
        return next(iter(made.values()))
    return [RoutedBatch(name, own[place]) for place in range(each) for name, own in made.items()]


def _trained(config: TrainConfig, batches: list[Any], steps: int, precision: str, device: str) -> dict[str, float]:
    settings = replace(
        config.trainer, max_steps=steps, precision=precision, accelerator="gpu" if device == "cuda" else device,
        devices=1, progress=False, options={"limit_val_batches": 0},
    )  # fmt: skip
    config = replace(config, trainer=settings, optim=replace(config.optim, warmup_steps=min(50, steps // 2)))
    pl.seed_everything(0, verbose=False)
    answers = config.data.dataset("train", frozenset({"questions"})).answers
    task = build_task(config, None, answers)
    curve = LossCurve()
    trainer = settings.build(None, [curve], [], config.task.skips())
    begun = time.perf_counter()
    trainer.fit(task, train_dataloaders=Rounds(batches, steps))
    tail = max(1, min(30, steps // 3))
    found = {"first": curve.mean(0, tail), "last": curve.mean(-tail, 0), "seconds": time.perf_counter() - begun}
    finite = all(bool(torch.isfinite(parameter).all()) for parameter in task.parameters())
    return {**found, "finite_weights": float(finite)}


# Steps of GLIP-T


@dataclass(frozen=True)
class Case:
    """One way of running a training step."""

    batch: int
    precision: str
    grad_checkpointing: bool
    compile: str

    def __str__(self) -> str:
        ways = ["checkpointed" * self.grad_checkpointing, f"compiled ({self.compile})" * bool(self.compile)]
        return " ".join([f"batch {self.batch} {self.precision}", *filter(None, ways)])


def cases(batches: Sequence[int], compiler: str) -> list[Case]:
    """The cheap ones first; compiling is tried on the batch in the middle."""
    plain = [Case(batch, "bf16-mixed", light, "") for batch in batches for light in (False, True)]
    middle = batches[len(batches) // 2]
    single = [Case(batches[0], "32-true", False, ""), Case(middle, "16-mixed", False, "")]
    compiled = [Case(middle, "bf16-mixed", light, compiler) for light in (False, True)] if compiler else []
    return [*plain, *single, *compiled]


def measured(
    preset: str, sides: tuple[int, int], ways: Sequence[Case], device: str, steps: int, clock: Clock
) -> Iterator[dict[str, Any]]:
    """Peak memory and images a second of whole steps: forward, losses, backward, AdamW."""
    model = composed([f"model={preset}"]).model.without_files()
    for case in ways:
        row: dict[str, Any] = {"case": str(case), **vars(case)}
        if clock.is_over:
            yield {**row, "skipped": "time is over"}
            continue
        try:
            yield {**row, **_steps(model, sides, case, device, steps)}
        except torch.cuda.OutOfMemoryError:
            yield {**row, "skipped": "out of memory"}
        except Exception as error:  # a compiler's failure is a finding, not the end of the measurement
            yield {**row, "skipped": f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"}
        finally:
            gc.collect()
            if device == "cuda":
                torch.cuda.empty_cache()


def _steps(model: ModelConfig, sides: tuple[int, int], case: Case, device: str, steps: int) -> dict[str, float]:
    parts = ["image", "text", "fusion"] if case.grad_checkpointing else []
    config = composed(["task=detection", "loss=grounding", "tracking=off"])
    settings = replace(config.trainer, grad_checkpointing=parts, compile=case.compile)
    torch.manual_seed(0)
    task = build_task(replace(config, model=model, trainer=settings)).to(device)
    batch = glip_batch(task, sides, case.batch).to(device)
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-5, foreach=True)
    scaler = torch.amp.GradScaler(device, enabled=case.precision == "16-mixed")

    def step() -> None:
        with _autocast(case.precision, device):
            loss = task.losses(batch).total
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    begun = time.perf_counter()
    step()
    first = time.perf_counter() - begun
    step()
    _wait(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    seconds = (time.perf_counter() - begun) / steps
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")
    return {"peak_gib": peak, "ms_a_step": 1000 * seconds, "images_per_second": case.batch / seconds, "first_s": first}


def glip_batch(task: Task, sides: tuple[int, int], count: int) -> DetectionBatch:
    """Random pictures of these sides with seven boxes each, and all of COCO's names in the prompt."""
    rng = torch.Generator().manual_seed(0)
    examples = []
    for number in range(count):
        image = torch.randint(0, 256, (3, *sides), dtype=torch.uint8, generator=rng)
        corners = torch.rand(7, 2, generator=rng) * torch.tensor([sides[1] * 0.6, sides[0] * 0.6])
        extent = torch.rand(7, 2, generator=rng) * min(sides) * 0.3 + 12
        labels = torch.randint(0, len(COCO), (7,), generator=rng)
        boxes = torch.cat([corners, corners + extent], dim=1)
        instances = Instances(boxes, labels, torch.zeros(7, dtype=torch.bool), extent.prod(dim=1))
        sample = Sample(image, number, f"{number}", instances)
        examples.append(Example(image, instances, truth_of(sample), sample, seed=number))
    model = task.model_config
    composer = PromptComposer(COCO, model.tokenizer.build(), PromptConfig(full_probability=1.0))
    random.seed(0)
    return TrainingCollator(model.pixels, composer)(examples)


def _autocast(precision: str, device: str) -> Any:
    kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    return torch.autocast(device, dtype=kinds.get(precision), enabled=precision in kinds)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


# On the terminal


def main() -> None:
    """Prints both tables row by row, and writes them as JSON where asked."""
    options = _options()
    _quiet()
    clock = Clock(options.seconds)
    name = torch.cuda.get_device_name(0) if options.device == "cuda" else "cpu"
    print(f"torch {torch.__version__}, {name}, seed 0; {' '.join(sys.argv)}", flush=True)
    content: dict[str, Any] = {
        "torch": torch.__version__,
        "device": name,
        "command": sys.argv,
        "steps": [],
        "tasks": [],
    }
    with _written(content, options.json):
        ways = cases(options.batches, options.compile)
        print(
            f"\n{options.model} at {options.sides[0]}×{options.sides[1]}, 80 names, AdamW, {options.timed} steps each"
        )
        for row in measured(options.model, tuple(options.sides), ways, options.device, options.timed, clock):
            content["steps"].append(row)
            print(_step_line(row), f"[{clock.seconds:.0f} s]", flush=True)
        print(f"\nmean loss of the first and of the last steps of {options.steps}, nano on shapes, batch {BATCH}")
        print(f"{'':24s}" + "".join(f"{precision:>24s}" for precision in PRECISIONS))
        tasks = options.tasks or [name for name in SCHEMAS["task"] if name in TASKS]
        for row in trained_in_each(tasks, options.steps, options.device, clock):
            content["tasks"].append(row)
            print(_task_line(row), f"[{clock.seconds:.0f} s]", flush=True)


TASKS = ("detection", "instance_segmentation", "phrase_grounding", "vqa", "captioning", "joint")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", default="glip_t")
    parser.add_argument("--sides", type=int, nargs=2, default=(800, 1333), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batches", type=int, nargs="*", default=(1, 2, 4))
    parser.add_argument("--timed", type=int, default=5, help="steps of each case that are timed")
    parser.add_argument("--compile", default="inductor", help="a backend, or '' for none")
    parser.add_argument("--steps", type=int, default=150, help="of each task in each precision")
    parser.add_argument("--tasks", nargs="*", choices=TASKS)
    parser.add_argument("--seconds", type=float, default=215.0, help="nothing begins after them")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _quiet() -> None:
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "glipv2"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_float32_matmul_precision("highest")  # float32 is to mean float32


@contextmanager
def _written(content: dict[str, Any], path: Path | None) -> Iterator[None]:
    """The rows so far as JSON, however it ends."""
    try:
        yield
    finally:
        if path:
            path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _step_line(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return f"{row['case']:48s} {row['skipped']}"
    return (
        f"{row['case']:48s} {row['peak_gib']:6.2f} GiB {row['ms_a_step']:8.1f} ms a step "
        f"{row['images_per_second']:7.2f} images/s  first step {row['first_s']:.1f} s"
    )


def _task_line(row: dict[str, Any]) -> str:
    show: Callable[[Any], str] = lambda one: (  # noqa: E731
        f"{one['first']:.3f} → {one['last']:.3f}{'' if one['finite_weights'] else ' NaN!'}"
        if isinstance(one, dict) else str(one)
    )  # fmt: skip
    return f"{row['task']:24s}" + "".join(f"{show(row[precision]):>24s}" for precision in PRECISIONS)


if __name__ == "__main__":
    main()
