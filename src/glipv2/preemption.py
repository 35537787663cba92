"""A SLURM job whose machines are taken back: it saves between two steps, asks to be queued again, and goes on."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)  # ahead of the end, as `#SBATCH --signal` asks for; and the end itself


class Preemption(Callback):
    """Around a run: SIGUSR1 and SIGTERM are a Ctrl-C, after whose saving the first rank has the job queued again.

    Every rank is told of it by SLURM; they stop at the same step. A validation that several ranks share can't be left
    so: there the job is queued again at once, from its last checkpoint.
    """

    def __init__(self) -> None:
        self._taken = self._ending = self._queued = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, *SIGNALS)}
            if not callable(self._before[signal.SIGINT]):  # a shell's background jobs ignore it
                signal.signal(signal.SIGINT, signal.default_int_handler)
        self._heed()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ending = True
        if isinstance(error, KeyboardInterrupt) and getattr(rank_zero_only, "rank", 0) == 0:
            self._queue()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._heed()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            self._heed()

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if trainer.world_size > 1 and trainer.is_global_zero:
            self._queue()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._ending = True  # before others save: a late signal must not break into that

    def _heed(self) -> None:
        """Takes the signals, from Lightning too, which gives them back at the end of its work."""
        for number in SIGNALS if self._before else ():
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, frame: Any) -> None:
        first, self._taken = not self._taken, True
        if first and not self._ending:
            log.info("%s: the machines are taken back", signal.Signals(number).name)
            signal.raise_signal(signal.SIGINT)

    def _queue(self) -> None:
        if self._taken and not self._queued:
            self._queued = True
            queue_again()


def queue_again() -> None:
    """Asks SLURM to; where it does not, that is told, for the end is near anyway."""
    job = job_id(os.environ)
    if job is None:
        log.warning("this is no SLURM job: nobody queues it again")
        return
    try:
        answer = subprocess.run(["scontrol", "requeue", job], check=False, capture_output=True, text=True)
    except OSError as error:
        log.warning("the job %s is not queued again: scontrol can't be run (%s)", job, error)
        return
    if answer.returncode:
        why = " ".join(answer.stderr.split()) or f"status {answer.returncode}"
        log.warning("the job %s is not queued again: scontrol says: %s", job, why)
    else:
        log.info("the job %s is queued again, and goes on by itself", job)


def job_id(environment: Mapping[str, str]) -> str | None:
    """Of the SLURM job, or of its part of an array; None outside."""
    array, place = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{place}" if array and place else environment.get("SLURM_JOB_ID")


def was_queued_again(environment: Mapping[str, str]) -> bool:
    """Whether SLURM started this job before."""
    return int(environment.get("SLURM_RESTART_COUNT") or 0) > 0
