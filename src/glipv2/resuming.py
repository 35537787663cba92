"""What of a run or a sweep is there already, and where it goes on."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from glipv2.checkpoint_files import fault_of, newest_whole, remove_partials
from glipv2.config import TrainConfig, to_plain
from glipv2.errors import UserError
from glipv2.preemption import was_queued_again
from glipv2.report.sweep import SWEEP_FILE
from glipv2.runs import CONFIG, ENVIRONMENT

log = logging.getLogger(__name__)

OF_THE_JOB = ("resume", "replay", "output")  # keys that are no part of what is trained
WRITTEN_DOWN = "model.text.options.vocab_size"  # the tokenizer's; weights that a run goes on from have brought it
FINISHED = "run/steps"  # in metrics.json, which is written last


def checkpoint_to_resume(config: TrainConfig) -> Path | None:
    """The newest whole checkpoint of the run, None where it was killed before its first; or the file given."""
    if not config.resume:
        return None
    path = Path(config.resume).expanduser()
    if path.is_file():
        fault = fault_of(path)
        if fault:
            raise UserError(f"resume={config.resume}: {fault}; give the run's folder to take another checkpoint")
        return path
    if not (path / CONFIG).is_file():
        raise UserError(f"resume={config.resume}: no run is there; expected a folder with {CONFIG} in it")
    remove_partials(path / "checkpoints")
    found = newest_whole(path / "checkpoints")
    if found is None:
        log.info("%s has no checkpoint yet: it begins anew", path)
    return found


def run_of(resume: Path) -> Path:
    """The folder of the run that a `resume` names, by itself or by one of its checkpoints."""
    return resume.resolve() if resume.is_dir() else resume.resolve().parent.parent


def job_of_sweep(config: TrainConfig, folder: Path) -> tuple[TrainConfig, dict[str, float]]:
    """The config of this job of a sweep that goes on, and its scores where it has ended, so that no sampler notices.

    Any other config comes back as it is, without scores. UserError where the sweep now draws other values than the
    job in this folder had.
    """
    if not (config.resume and (Path(config.resume).expanduser() / SWEEP_FILE).is_file()):
        return config, {}
    if not (folder / CONFIG).is_file():
        return replace(config, resume=None), {}
    changed = list(changes(folder, config))
    if changed:
        raise UserError(
            f"{folder}: this sweep draws other values than before ({'; '.join(changed[:3])}); a sampler needs a seed "
            f"of its own to be gone on with"
        )
    path = folder / "metrics.json"
    scores = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if FINISHED in scores:
        log.info("%s has ended; its scores count", folder)
        return config, scores
    return replace(config, resume=str(folder)), {}


def queued_again(config: TrainConfig, folder: Path) -> TrainConfig:
    """The config of a SLURM job that goes on with its own folder where it was started before; else as it is."""
    if config.resume or not was_queued_again(os.environ) or not (folder / CONFIG).is_file():
        return config
    return replace(config, resume=str(folder))


def check_requeued(words: Iterable[str]) -> None:
    """UserError where a job that is queued again would make itself another folder."""
    if not any(word.partition("=")[0] in ("output", "resume") for word in words):
        raise UserError("trainer.requeue: a job that is queued again has to find its run; give output=FOLDER")


def tell_changes(config: TrainConfig, folder: Path) -> None:
    """Says what is not as it was when the run stopped."""
    for change in changes(folder, config):
        log.warning("goes on with another %s", change)
    path = folder / ENVIRONMENT
    before = json.loads(path.read_text("utf-8")).get("folder") if path.is_file() else None
    if before and before != os.getcwd():
        log.warning("the run began in %s: relative paths lead elsewhere from here", before)


def changes(folder: Path, config: TrainConfig) -> Iterator[str]:
    """Where a config differs from that of a run's folder, as "optim.lr: 0.1, before 0.2"."""
    if not (folder / CONFIG).is_file():
        return
    before = dict(_flat(OmegaConf.to_container(OmegaConf.load(folder / CONFIG))))
    now = dict(_flat(OmegaConf.to_container(OmegaConf.create(to_plain(config)))))
    left_out = {*OF_THE_JOB, *(["model"] if config.weights else [])}  # the model is that of the weights
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key) and key.partition(".")[0] not in left_out and key != WRITTEN_DOWN:
            yield f"{key}: {now.get(key)}, before {before.get(key)}"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}{key}.")
    else:
        yield prefix.removesuffix("."), value
