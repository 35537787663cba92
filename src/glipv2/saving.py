"""What makes a run go on after any end as if there had been none: when it is saved, and how it is taken up again."""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn

log = logging.getLogger(__name__)

CHECKED_EVERY = 10  # steps between looks at the clock with several processes, which have to agree


class StepSeeds(Callback):
    """Before each batch all random numbers of this process (dropout, masked words, noise) are seeded with its number.

    So there is no state of generators to store, and a batch can be trained on again as it was.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        seed_step(self.seed, trainer.fit_loop.total_batch_idx, trainer.global_rank)
        # or Lightning logs the terms of the task before last again, as those of this step
        trainer.fit_loop.epoch_loop._results.clear()


def seed_step(seed: int, batch: int, rank: int) -> None:
    """See `StepSeeds`."""
    number = random.Random(f"{seed}/{batch}/{rank}").getrandbits(32)
    random.seed(number)
    np.random.seed(number)  # whatever a plug-in draws from
    torch.manual_seed(number)


class LastCheckpoint(Callback):
    """Writes last.ckpt between two steps: every so many of them or minutes, after a validation, at the end, on Ctrl-C.

    Only there is all of a step done: weights, optimiser, schedule, averages, counters and curves. Ctrl-C therefore
    waits for the running step; a second one doesn't, and saves nothing. Curves are on the disk before a checkpoint.
    """

    def __init__(self, path: Path, steps: int, minutes: float) -> None:
        self.path = path
        self.steps, self.minutes = steps, minutes
        self.saved_step = 0
        self._since = time.monotonic()
        self._validated = False
        self._in_validation = False
        self._asked = False
        self._orderly = False
        self._handler: Any = None

    # When

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.monotonic()
        self.saved_step = trainer.global_step
        self._listen()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """All of the step before is done here, its validation and its row of the curves too."""
        if batch_idx % trainer.accumulate_grad_batches:
            return  # gradients of half a step are not stored
        self._stop_if_asked(trainer)
        step = trainer.global_step
        if step > self.saved_step and self._due(trainer, step):
            self._save(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._in_validation = trainer.state.fn == TrainerFn.FITTING

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._in_validation and trainer.world_size == 1:  # ranks may have batches of different number here
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated, self._in_validation = self._in_validation, False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._listen(False)
        if trainer.global_step > self.saved_step or self._validated:
            self._save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._listen(False)
        terminated = isinstance(exception, SystemExit)  # a scheduler's SIGTERM, which Lightning answers after a step
        training = trainer.state.fn == TrainerFn.FITTING and trainer.global_step > self.saved_step
        training = training and not (self._in_validation and trainer.global_step >= trainer.max_steps)
        if training and (self._orderly or (terminated and not self._in_validation)):
            self._save(trainer)

    def _due(self, trainer: pl.Trainer, step: int) -> bool:
        if self._validated or (self.steps and step % self.steps == 0):
            return True
        if step == trainer.max_steps - 1:  # the last validation may take long, and is run again from here
            return True
        several = trainer.world_size > 1
        if not self.minutes or (several and step % CHECKED_EVERY):
            return False
        late = time.monotonic() - self._since >= 60 * self.minutes
        return bool(trainer.strategy.broadcast(late)) if several else late

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.saved_step, self._validated, self._since = trainer.global_step, False, time.monotonic()

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        """Ranks stop at the same step, though they may hear of it at different ones."""
        if trainer.strategy.reduce_boolean_decision(self._asked, all=False):
            self._orderly = True
            raise KeyboardInterrupt

    def _listen(self, on: bool = True) -> None:
        """Takes Ctrl-C over for the time of training, or gives it back."""
        if threading.current_thread() is not threading.main_thread():
            return
        if on and self._handler is None and callable(signal.getsignal(signal.SIGINT)):
            self._handler = signal.signal(signal.SIGINT, self._ask)
        elif not on and self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def _ask(self, number: int, frame: Any) -> None:
        if self._asked:
            self._handler(number, frame)
        self._asked = True
        log.info("stopping after this step; Ctrl-C again stops at once and keeps what was saved at %d", self.saved_step)

    # What

    def state_dict(self) -> dict[str, Any]:
        return {"in_validation": self._in_validation and self._orderly}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Puts the curves on the disk first: what a checkpoint has behind it will not be logged again."""
        for logger in trainer.loggers:
            logger.save()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Sets Lightning's counters to what is between two steps."""
        loops = checkpoint.get("loops")
        if loops is None:
            return
        own = checkpoint.get("callbacks", {}).get(self.state_key, {})
        every = trainer.val_check_interval if isinstance(trainer.val_check_interval, int) else 0
        between_steps(loops["fit_loop"], every, bool(own.get("in_validation")), trainer.max_steps)


def between_steps(loop: Mapping[str, Any], val_every: int, in_validation: bool, max_steps: int) -> None:
    """Changes the stored counters of a fit loop so that Lightning goes on with the next batch, and nothing twice.

    val_every: batches between validations. in_validation: the one due at this place is to be run, from its beginning.
    Lightning's own reading of counters is by the hook that saved: a batch that was ready but not begun, or begun
    in vain, costs a logged step, a validation, or the rest of the epoch.
    """
    progress = loop["epoch_loop.batch_progress"]
    for part in ("total", "current"):
        done = progress[part]["completed"]
        progress[part].update(ready=done, started=done, processed=done)
    progress["is_last_batch"] = False
    steps = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
    ended = int(0 <= max_steps <= steps)
    for part in ("total", "current"):  # the epoch, which is the whole run
        loop["epoch_progress"][part].update(ready=1, started=1, processed=ended, completed=ended)
    done = progress["total"]["completed"]
    due = val_every > 0 and done > 0 and done % val_every == 0 and not ended
    # where a validation is due Lightning counts this step once more, whether it runs the validation or not
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = steps - due
    validation = loop["epoch_loop.val_loop.batch_progress"]
    begun = int(in_validation)
    for part in ("total", "current"):
        validation[part].update(ready=begun, started=begun, processed=0, completed=0)
    validation["is_last_batch"] = False
