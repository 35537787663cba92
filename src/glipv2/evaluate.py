"""Scores of a task on a split, with pictures of what it saw."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from glipv2.checkpoints import read_checkpoint, weights_file
from glipv2.config import EvaluateConfig, check_pair
from glipv2.data.datamodule import DataModule, Feed
from glipv2.data.dataset import DataConfig
from glipv2.keeper import KeepPredictions
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.fetch import BUILTIN, is_address
from glipv2.ranks import Job, other_ranks
from glipv2.report.summary import show_rows, summary_rows
from glipv2.retention import comparable, retained, retention_rows, write_retention
from glipv2.runs import output_folder, write_metrics
from glipv2.tasks.base import Task, TaskConfig
from glipv2.trainer import compile_parts, interrupts_as_such

log = logging.getLogger(__name__)


def open_data(
    task: TaskConfig, model: ModelConfig, data: DataConfig, *, train: bool, split: str, seed: int = 0
) -> DataModule:
    """The loaders of a task, and of all tasks of a joint one, over a data preset; seed: of the training batches."""
    feeds = {}
    for name, stream in task.streams().items():
        check_pair(stream.task, data, ["train"] * train + [split])
        feeds[name] = Feed(stream.task.needs, partial(stream.task.collator, model, data), stream.weight)
    routed = task.name not in feeds
    return DataModule(data, model.pixels, feeds, train=train, eval_split=split, seed=seed, routed=routed)


def score_split(
    task: Task, data: DataModule, trainer: pl.Trainer, folder: Path, split: str, pictures: int
) -> dict[str, float]:
    """Validates, writes predictions and a gallery of the split, and returns its scores by name.

    Scores of a split other than "val" carry its name: detection/unseen/box_ap. Files of a joint task
    carry the names of its tasks: predictions/val_vqa.json.
    """
    names = list(task.subtasks())
    shown = {name: split if len(names) == 1 else f"{split}_{name}" for name in names}
    task.score_prefix = score_name("{task}", split)
    return _scored(task, data, trainer, folder, shown, pictures)


def _scored(
    task: Task, data: DataModule, trainer: pl.Trainer, folder: Path, shown: Mapping[str, str], pictures: int,
    written: int = 0,
) -> dict[str, float]:  # fmt: skip
    """See `score_split`. shown: under which name each task's files stand; written: see `KeepPredictions`."""
    files = {name: folder / "predictions" / f"{own}.json" for name, own in shown.items()}
    keeper = KeepPredictions(pictures, files, written)
    trainer.callbacks.append(keeper)  # type: ignore[attr-defined]
    try:
        with interrupts_as_such():
            trainer.validate(task, datamodule=data, verbose=False)
        keeper.finish(task.subtasks(), shown, data.eval_samples, trainer, folder)
    finally:
        trainer.callbacks.remove(keeper)  # type: ignore[attr-defined]
        keeper.abandon()
    return dict(task.scores)


def score_name(name: str, split: str) -> str:
    """A score or its prefix on a split: detection/box_ap, detection/unseen/box_ap."""
    task, *rest = name.split("/")
    return "/".join([task, *([] if split == "val" else [split]), *rest])


@dataclass(frozen=True)
class Measured:
    """Numbers by name; which of them the weights are judged by; and the table to show."""

    scores: dict[str, float]
    judged: tuple[str, ...]
    table: list[list[str]]


def evaluate(config: EvaluateConfig) -> dict[str, float]:
    """`glipv2 evaluate`: metrics.json, predictions and a gallery beside the weights, or under `output`.

    With `before` other weights are measured in the same way, under before/, and both are compared in
    retention.json.
    """
    source = weights_file(config.weights)
    earlier = weights_file(config.before) if config.before else None
    config.check()
    task = read_checkpoint(source).build()
    compile_parts(task, config.trainer.compile)
    before = read_checkpoint(earlier).build() if earlier else None
    protocol = config.protocol.name != "none"
    if before is not None and not protocol:
        before = comparable(before, task, str(config.before))
    folder = numbers_folder(config, source)
    job = Job("evaluate", replace(config, output=str(folder)))
    with output_folder(folder), other_ranks(config.trainer.build(None, [], []), job):
        found = _measured(config, task, folder)
        old = None if before is None else _measured(config, before, folder / "before")
        _tell(folder, found, old)
    log.info("written to %s", folder)
    return found.scores


def numbers_folder(config: EvaluateConfig, weights: Path) -> Path:
    """Where the numbers go: `output`, or a folder beside the weights, unless those lie in the hub's cache or in us."""
    if config.output:
        return Path(config.output)
    foreign = is_address(config.weights) or config.weights == BUILTIN
    what = config.split if config.protocol.name == "none" else config.protocol.name
    return (Path() if foreign else weights.parent) / "evaluation" / what


@rank_zero_only
def _tell(folder: Path, found: Measured, old: Measured | None) -> None:
    """The numbers, and what was kept of those of other weights."""
    show_rows(found.table)
    if old is not None:
        numbers = retained(old.scores, found.scores)
        write_retention(folder, numbers)
        show_rows(retention_rows(numbers, found.judged))


def _measured(config: EvaluateConfig, task: Task, folder: Path) -> Measured:
    """Measures as the config says, and writes it into a folder."""
    if config.protocol.name != "none":
        return _by_protocol(config, task, folder)
    data = open_data(task.config, task.model_config, config.data, train=False, split=config.split)
    trainer = config.trainer.build(None, [], [])
    scores = score_split(task, data, trainer, folder, config.split, config.gallery)
    if trainer.is_global_zero:
        write_metrics(folder, scores)
    judged = (score_name(own.config.monitor, config.split) for own in (*task.subtasks().values(), task))
    return Measured(scores, tuple(dict.fromkeys(judged)), summary(task.config, scores))


def _by_protocol(config: EvaluateConfig, trained: Task, folder: Path) -> Measured:
    """Every data set of a protocol, whatever the weights were trained for, as long as they can ground words.

    Data sets are opened, and their faults told, before the first runs; metrics.json grows with each.
    """
    protocol = config.protocol
    rounds = protocol.rounds(trained)
    parts = trained.parts()
    trainer = config.trainer.build(None, [], [])
    scores: dict[str, float] = {}
    for own in rounds:
        task = own.task.assemble(parts, LossConfig.grounding_only()).eval()
        data = open_data(own.task, task.model_config, own.data, train=False, split="val")
        task.score_prefix = own.name
        shown = dict.fromkeys(task.subtasks(), own.name)
        scores |= _scored(task, data, trainer, folder, shown, config.gallery, own.written)
        if trainer.is_global_zero:
            write_metrics(folder, scores)
    numbers = protocol.summary(scores)
    scores |= numbers
    if trainer.is_global_zero:
        write_metrics(folder, scores)
    judged = [f"{own.name}/{own.task.monitor.partition('/')[2]}" for own in rounds]
    return Measured(scores, (*judged, *numbers), protocol.table(scores))


def summary(config: TaskConfig, scores: Mapping[str, float]) -> list[list[str]]:
    """A heading and a row for each task: the number it is judged by, its baselines, and those told beside it."""
    told = {config.name: config, **{name: stream.task for name, stream in config.streams().items()}}
    return summary_rows({name: (own.monitor.partition("/")[2], *own.headlines) for name, own in told.items()}, scores)
