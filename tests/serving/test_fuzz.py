"""The claim that no request that a schema's fuzzer makes up gets another answer than the schema names."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from glipv2.serving.app import build_app
from glipv2.serving.served import ServedModel

EXAMPLES = 15  # an operation
NOT_HELD = [positive_data_acceptance]  # no schema tells what bytes are a picture


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The address of an app in a real server, in a thread."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


def try_out(operation: Any, address: str) -> set[int]:
    """Statuses of made-up requests, each held against the schema."""
    seen: set[int] = set()

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def holds(case: Any) -> None:
        answer = case.call(base_url=address)
        seen.add(answer.status_code)
        assert answer.status_code != 500, answer.text
        case.validate_response(answer, excluded_checks=NOT_HELD)

    holds()
    return seen


def test_no_made_up_request_breaks_the_service(served: Callable[..., ServedModel]) -> None:
    model = served(timeout=60.0)
    outer, app = build_app(model, model.config)
    schema = schemathesis.openapi.from_dict(app.openapi())
    with running(outer) as address:
        operations = [result.ok() for result in schema.get_all_operations()]
        statuses = {operation.path: try_out(operation, address) for operation in operations}
    assert statuses["/health/live"] == {200}
    assert 422 in statuses["/v1/detect"]
