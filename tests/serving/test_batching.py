"""Claims about working on requests together: order, kinds, faults, and requests that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Hashable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.serving.batching import Batcher

PICTURE = torch.zeros(3, 1, 1, dtype=torch.uint8)


class Work:
    """Answers each request with itself; notes what came together, and may be held up."""

    def __init__(self) -> None:
        self.batches: list[tuple[Hashable, list[Any]]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, kind: Hashable, pictures: Sequence[Tensor], requests: Sequence[Any]) -> Any:
        self.go.wait(5)
        self.batches.append((kind, list(requests)))
        for request in requests:
            if isinstance(request, Exception):
                raise request
        return requests


def asked(work: Work, jobs: Sequence[tuple[Hashable, Any]], size: int = 3, leave: int | None = None) -> list[Any]:
    """Results (or exceptions) of jobs that come while a first one is worked on."""

    async def scenario() -> list[Any]:
        batcher = Batcher(work, size, 0.0)
        batcher.start()
        work.go.clear()
        first = asyncio.create_task(batcher.result("first", PICTURE, "first"))
        await asyncio.sleep(0.02)
        tasks = [asyncio.create_task(batcher.result(kind, PICTURE, request)) for kind, request in jobs]
        await asyncio.sleep(0)
        if leave is not None:
            tasks[leave].cancel()
        await asyncio.sleep(0.01)
        work.go.set()
        found = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert batcher.healthy == (sum(isinstance(one, RuntimeError) for one in found) < 3)
        await batcher.stop()
        assert not batcher.healthy
        return list(found[1:])

    return asyncio.run(scenario())


def test_what_waits_goes_together_up_to_the_size() -> None:
    work = Work()
    assert asked(work, [("a", number) for number in range(4)]) == [0, 1, 2, 3]
    assert work.batches == [("first", ["first"]), ("a", [0, 1, 2]), ("a", [3])]


def test_only_one_kind_goes_together_and_the_oldest_comes_first() -> None:
    work = Work()
    assert asked(work, [("a", 1), ("b", 2), ("a", 3), ("b", 4)]) == [1, 2, 3, 4]
    assert work.batches[1:] == [("a", [1, 3]), ("b", [2, 4])]


def test_a_request_that_fails_fails_alone() -> None:
    work = Work()
    fault, other = UserError("no such thing"), RuntimeError("broken")
    assert asked(work, [("a", 1), ("a", fault), ("a", other)]) == [1, fault, other]


def test_what_nobody_waits_for_is_not_worked_on() -> None:
    work = Work()
    found = asked(work, [("a", 1), ("a", 2), ("a", 3)], leave=1)
    assert isinstance(found[1], asyncio.CancelledError)
    assert work.batches[1:] == [("a", [1, 3])]


@pytest.mark.parametrize("count", [1, 3])
def test_after_three_faults_in_a_row_it_is_no_longer_healthy(count: int) -> None:
    asked(Work(), [("a", RuntimeError("gone"))] * count, size=1)  # asserted there
