"""`glipv2 train`: from a config to a run's folder."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from glipv2.callbacks import training_callbacks
from glipv2.checkpoint_files import LAST, steps_in
from glipv2.checkpoints import WEIGHTS_FILE, Checkpoint, read_checkpoint, record_of, save_weights, task_of
from glipv2.config import TrainConfig, to_plain
from glipv2.data.datamodule import DataModule
from glipv2.errors import Interrupted, UserError
from glipv2.evaluate import open_data, score_split, summary
from glipv2.facts import peak_memory, write_facts
from glipv2.hushed import hushed
from glipv2.models.conventions import starting_from
from glipv2.models.weights import load_into
from glipv2.monitors import Throughput, model_summary, parameter_count
from glipv2.preemption import Preemption
from glipv2.ranks import Job, SameConfig, other_ranks
from glipv2.report.summary import show_rows
from glipv2.resuming import checkpoint_to_resume, job_of_sweep, queued_again, run_of, tell_changes
from glipv2.runs import (
    CONFIG,
    ENVIRONMENT,
    Claim,
    claim_folder,
    environment,
    sole_use,
    write_json,
    write_metrics,
    write_text,
)
from glipv2.saving import LastCheckpoint
from glipv2.tasks.base import Task
from glipv2.tracking import end_tracking, label_of, log_facts, log_files, log_summary
from glipv2.trainer import SHARDED, interrupts_as_such
from glipv2.tune import trainable_parameters

log = logging.getLogger(__name__)

KEPT = ("best.ckpt", LAST)  # checkpoints that a tracker gets where it is to


def train(config: TrainConfig, folder: Path) -> dict[str, float]:
    """Trains, evaluates the best checkpoint, and leaves everything in `folder`; returns the scores."""
    config.check()
    if not config.trainer.requeue:
        return _claimed(config, folder)
    with Preemption() as preemption:
        return _claimed(queued_again(config, folder), folder, preemption)


def _claimed(config: TrainConfig, folder: Path, *around: Callback) -> dict[str, float]:
    """See `train`; around: callbacks before all others."""
    config, scores = job_of_sweep(config, folder)
    if scores:
        return scores
    goes_on = bool(config.resume) and run_of(Path(str(config.resume)).expanduser()) == folder.resolve()
    resume = checkpoint_to_resume(config)
    if goes_on:
        tell_changes(config, folder)
    # only the run that goes on may be written over; processes that a run starts for more devices claim nothing
    if getattr(rank_zero_only, "rank", 0) > 0:
        return _ended(config, folder, resume, around, None)
    claim = None if goes_on else claim_folder(folder)
    with sole_use(folder):
        return _ended(config, folder, resume, around, claim)


def _ended(
    config: TrainConfig, folder: Path, resume: Path | None, around: Sequence[Callback], claim: Claim | None
) -> dict[str, float]:
    """Trains; gives a claim back where nothing worth keeping has come."""
    try:
        return _trained(config, folder, resume, around)
    except BaseException as end:
        early = type(end) is KeyboardInterrupt  # later ones come as Interrupted
        saved = (folder / "checkpoints" / LAST).exists()
        if claim and not saved and (early or not (folder / "metrics.csv").exists()):
            claim.give_back()
        if early:
            kept = f"{folder} stays as it is" if saved else "nothing was kept"
            raise Interrupted(f"before the first step; {kept}") from end
        raise


def _trained(config: TrainConfig, folder: Path, resume: Path | None, around: Sequence[Callback]) -> dict[str, float]:
    """Builds everything and runs; the folder is ours."""
    start = _start(config, resume)
    if start:
        config = _with_model_of(config, start)
    started = time.perf_counter()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data = open_data(config.task, config.model, config.data, train=True, split=config.split, seed=config.seed)
    task = build_task(config, None if resume else start, data.answers)
    del start  # its tensors are in the task, and a training is long
    task.record = record_of(task.model_config, config.task, data.vocabulary, data.answers)
    loggers = _begin(config, folder, task, data, steps_in(resume) if resume else 0)
    try:
        if data.skipped:
            log_facts(loggers, {"skipped_records": data.skipped})
        return _run(config, folder, task, data, loggers, resume, around, started)
    finally:
        end_tracking(loggers)


def _run(
    config: TrainConfig, folder: Path, task: Task, data: DataModule, loggers: list[Logger], resume: Path | None,
    around: Sequence[Callback], started: float,
) -> dict[str, float]:  # fmt: skip
    """Builds the trainer and begins on every rank; everything around is ready."""
    own = training_callbacks(folder, config.task.monitor, config.trainer, config.seed, bool(loggers))
    callbacks = [*around, *own, SameConfig(config)]
    trainer = config.trainer.build(folder, callbacks, loggers, config.task.skips())
    with other_ranks(trainer, Job("train", config, folder)):
        return _fitted(config, folder, task, data, trainer, loggers, callbacks, resume, started)


def _fitted(
    config: TrainConfig, folder: Path, task: Task, data: DataModule, trainer: pl.Trainer, loggers: list[Logger],
    callbacks: Sequence[Callback], resume: Path | None, started: float,
) -> dict[str, float]:  # fmt: skip
    """Fits and scores, on every rank."""
    saving = next(callback for callback in callbacks if isinstance(callback, LastCheckpoint))
    log.info("trains on %s in %s", trainer.strategy.root_device, trainer.precision)
    steps = config.trainer.max_steps
    with interruptible(lambda: f"at step {saving.saved_step} of {steps}; it is saved in {folder}", saving.path):
        trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
    trained = time.perf_counter()
    if config.trainer.strategy == SHARDED:
        task = _gathered(config, task, saving.path)
    with interruptible(lambda: f"in the final evaluation; training is complete and saved in {folder}", saving.path):
        scores = _finish(config, folder, task, data, trainer)
    speed = next(callback.images_per_second for callback in callbacks if isinstance(callback, Throughput))
    scores |= {
        "run/steps": trainer.global_step,
        "run/seconds": time.perf_counter() - started,
        "run/parameters": parameter_count(task),
        "run/devices": trainer.world_size,
        **peak_memory(),
    }
    if data.skipped:
        scores["run/skipped_records"] = sum(count for kinds in data.skipped.values() for count in kinds.values())
    if data.skipped_pictures:
        scores["run/skipped_pictures"] = data.skipped_pictures
        log_facts(loggers, {"skipped_pictures": data.skipped_pictures})
    if data.skipped_shards:
        scores["run/skipped_shards"] = data.skipped_shards
        log_facts(loggers, {"skipped_shards": data.skipped_shards})
    if speed:  # a run that was resumed for its evaluation alone measured none
        scores |= {"run/train_seconds": trained - started, "run/images_per_second": speed}
    if trainer.is_global_zero:
        write_metrics(folder, scores)
        log_summary(loggers, {name: value for name, value in scores.items() if name.startswith("run/")})
        if config.tracking.checkpoints:
            log_files(loggers, config.name, [folder / WEIGHTS_FILE, *(folder / "checkpoints" / own for own in KEPT)])
        show_rows(summary(config.task, scores))
        log.info("run folder: %s", folder)
    return scores


@contextmanager
def interruptible(told: Callable[[], str], saved: Path) -> Iterator[None]:
    """Ctrl-C below says what is kept, once something is."""
    try:
        with interrupts_as_such():
            yield
    except KeyboardInterrupt as end:
        if not saved.is_file():
            raise
        raise Interrupted(told(), resumable=True) from end


def build_task(config: TrainConfig, start: Checkpoint | None = None, answers: Sequence[str] = ()) -> Task:
    """The task of a config, with the weights of `start` where it is given."""
    with hushed("glipv2.models", logging.WARNING) if start else nullcontext():  # that parts start from random numbers
        task = config.task.build(config.tune.prepared(config.model), config.loss, answers)
    task.optim = config.optim
    if start:
        _take_over(task, config, start)
    config.tune.apply(task)
    task.optim.freeze(task)
    log.info("%s", trainable_parameters(task))
    task.train()
    config.trainer.prepare(task)
    return task


def _start(config: TrainConfig, resume: Path | None) -> Checkpoint | None:
    """What the run starts from; a file that is broken or holds code is refused before anything is built."""
    source = resume or config.weights
    return read_checkpoint(source) if source else None


def _with_model_of(config: TrainConfig, start: Checkpoint) -> TrainConfig:
    """The config with what belongs to the weights it starts from."""
    model, changed = starting_from(config.model, start.model)
    if changed:
        log.info("taken over with the weights of %s: %s", start.source, ", ".join(changed))
    return replace(config, model=model)


def _take_over(task: Task, config: TrainConfig, start: Checkpoint) -> None:
    """Another run's weights: the whole core must fit, heads may be new."""
    report = load_into(task, start.tensors, start.source, f"{config.model.name} {config.task.name} model")
    lacking = [name for name in report.missing if name not in config.tune.adds]
    unfit = [name for name in (*lacking, *report.wrong_shape) if name.startswith("core.")]
    if unfit:
        raise UserError(
            f"weights={config.weights}: {len(unfit)} tensors of the core don't fit model={config.model.name}, "
            f"the first {', '.join(unfit[:3])}; these weights belong to model={start.model.name}"
        )


def _begin(config: TrainConfig, folder: Path, task: Task, data: DataModule, steps: int) -> list[Logger]:
    """Writes what is known before the first step and opens the trackers; steps: that are done already."""
    known: dict[str, Any] = {}
    if getattr(rank_zero_only, "rank", 0) == 0:
        known = {"environment": environment(), **write_facts(folder, data.fingerprint(), model_summary(task), steps)}
        write_json(folder / ENVIRONMENT, known["environment"])
        write_text(folder / CONFIG, OmegaConf.to_yaml(to_plain(config)))  # last: with it there is a run to go on with
    log.info(
        "%s %s: %.2f M parameters, run folder %s",
        config.model.name,
        config.task.name,
        parameter_count(task) / 1e6,
        folder,
    )
    label = label_of(config.name, folder, sys.argv)
    return config.tracking.build(folder, label, {**to_plain(config), "facts": known}, steps)


def _finish(config: TrainConfig, folder: Path, task: Task, data: DataModule, trainer: pl.Trainer) -> dict[str, float]:
    """Exports the best weights, the last where none were compared, and scores them on every split asked for."""
    best = folder / "checkpoints/best.ckpt"
    if best.is_file():
        content = torch.load(best, map_location="cpu", weights_only=True)
        task.load_state_dict(content["state_dict"])
        log.info("step %d was the best that was compared, of %d", content["global_step"], trainer.global_step)
    config.tune.merge(task)
    if trainer.is_global_zero:
        save_weights(folder / WEIGHTS_FILE, task.state_dict(), task.record)
    scores: dict[str, float] = {}
    for split in _splits(config):
        opened = (
            data
            if split == config.split
            else open_data(config.task, config.model, config.data, train=False, split=split)
        )
        scores |= score_split(task, opened, trainer, folder, split, config.gallery)
    return scores


def _gathered(config: TrainConfig, task: Task, last: Path) -> Task:
    """The task on whole weights, as its last checkpoint has them: those that are spread over devices stay so."""
    whole = task_of(config, task.record, str(last))
    whole.load_state_dict(torch.load(last, map_location="cpu", weights_only=True, mmap=True)["state_dict"])
    return whole


def _splits(config: TrainConfig) -> Sequence[str]:
    return list(dict.fromkeys([config.split, *config.also_evaluate]))
