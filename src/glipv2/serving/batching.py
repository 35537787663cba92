"""Requests that come at the same time are worked on together, in one thread, however many connections there are."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from glipv2.errors import UserError
from glipv2.structures import Prediction

log = logging.getLogger(__name__)

Work = Callable[[Hashable, Sequence[Tensor], Sequence[Any]], Sequence[Prediction]]  # kind, pictures, requests
Told = Callable[[Hashable, int, float], None]  # kind, how many together, seconds
SICK = 3  # batches in a row that failed without a user's fault: the device is gone, or the model


@dataclass(frozen=True)
class Job:
    """A picture and what is asked of it. kind: only jobs of one kind go together."""

    kind: Hashable
    picture: Tensor
    request: Any
    result: asyncio.Future[Prediction] = field(repr=False)


class Batcher:
    """One at a time in a thread: batches of at most `size` jobs of the kind of the one that waits longest.

    linger: seconds that a first job waits for others. A job whose result nobody awaits any more is left out. A job
    that fails fails alone: the others of its batch are tried again without it.
    """

    def __init__(self, work: Work, size: int, linger: float, told: Told = lambda *_: None) -> None:
        self._work, self._size, self._linger, self._told = work, size, linger, told
        self._waiting: deque[Job] = deque()
        self._news = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "model")
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._busy = False

    @property
    def healthy(self) -> bool:
        """Whether it works, and is worth sending requests to."""
        return self._task is not None and not self._task.done() and self._failures < SICK

    def start(self) -> None:
        """Begins to work, in the running event loop."""
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Finishes what waits, then ends."""
        while self._waiting or self._busy:
            await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    async def result(self, kind: Hashable, picture: Tensor, request: Any) -> Prediction:
        """The prediction for one picture; UserError and errors of the model as they come."""
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._waiting.append(Job(kind, picture, request, future))
        self._news.set()
        return await future

    async def _serve(self) -> None:
        while True:
            await self._news.wait()
            if len(self._waiting) < self._size and self._linger:
                await asyncio.sleep(self._linger)
            batch = self._next()
            if batch:
                self._busy = True
                await self._do(batch)
                self._busy = False
            if not self._waiting:
                self._news.clear()

    def _next(self) -> list[Job]:
        """The oldest job and others of its kind, in order; what nobody awaits is dropped on the way."""
        batch: list[Job] = []
        left: list[Job] = []
        for job in self._waiting:
            if job.result.done():  # cancelled: its client left, or waited long enough
                continue
            if len(batch) < self._size and (not batch or job.kind == batch[0].kind):
                batch.append(job)
            else:
                left.append(job)
        self._waiting = deque(left)
        return batch

    async def _do(self, batch: Sequence[Job]) -> None:
        begun = time.perf_counter()
        try:
            found = await self._worked(batch)
        except Exception as error:
            await self._apart(batch, error)
            return
        self._failures = 0
        self._told(batch[0].kind, len(batch), time.perf_counter() - begun)
        for job, result in zip(batch, found, strict=True):
            if not job.result.done():
                job.result.set_result(result)

    async def _worked(self, batch: Sequence[Job]) -> Sequence[Prediction]:
        pictures, requests = [job.picture for job in batch], [job.request for job in batch]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._work, batch[0].kind, pictures, requests)

    async def _apart(self, batch: Sequence[Job], error: Exception) -> None:
        """What failed together is tried one by one, so that each fails for its own fault alone."""
        if len(batch) > 1:
            for job in batch:
                await self._do([job])
            return
        if not isinstance(error, UserError):
            self._failures += 1
            log.error("a request failed", exc_info=error)
        if not batch[0].result.done():
            batch[0].result.set_exception(error)
