"""What stands before every request: how many may be under way, how much a body holds, how long it takes to come."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException

from glipv2.serving.measuring import Meter
from glipv2.serving.settings import ServeConfig

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

GUARDED = "/v1/"  # health and metrics are answered however busy it is
PATIENT = 4  # times the limit: of a larger body not even the end is awaited
RETRY_AFTER = "1"  # seconds


class Door:
    """An ASGI app around another. Turns away with 429, 413 and 408, before anything is parsed, and counts all."""

    def __init__(self, app: App, config: ServeConfig, meter: Meter) -> None:
        self.app, self.config, self.meter = app, config, meter
        self.under_way = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED) or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self.under_way >= self.config.waiting:
            self.meter.count(scope["path"], 429)
            await answer(send, 429, f"{self.under_way} requests are under way; try again")
            return
        self.under_way += 1
        self.meter.under_way.set(self.under_way)
        try:
            await self._let_in(scope, receive, send)
        finally:
            self.under_way -= 1
            self.meter.under_way.set(self.under_way)

    async def _let_in(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self._claims_too_much(scope):
                await self._discarded(receive)
                await answer(sending, 413, self._too_large())
            else:
                await self.app(scope, self._limited(receive, begun + self.config.timeout), sending)
        finally:
            self.meter.count(scope["path"], status, time.perf_counter() - begun)

    def _claims_too_much(self, scope: MutableMapping[str, Any]) -> bool:
        told = dict(scope["headers"]).get(b"content-length", b"")
        return bool(told.isdigit()) and int(told[:20]) > self.config.body_bytes

    async def _discarded(self, receive: Receive) -> None:
        """Lets a body pass that is somewhat too large: a client that still sends would see a broken connection."""
        left = PATIENT * self.config.body_bytes
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return

    def _limited(self, receive: Receive, deadline: float) -> Receive:
        """`receive` that counts bytes and minds the time while a body comes; what it raises is answered by the app."""
        seen, complete = 0, False

        async def receiving() -> Message:
            nonlocal seen, complete
            if complete:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(deadline - time.perf_counter(), 0.001))
            except TimeoutError as error:
                told = f"the request did not come within {self.config.timeout:g} s; send it anew"
                raise HTTPException(408, told) from error
            seen += len(message.get("body", b""))
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            if seen > self.config.body_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return receiving

    def _too_large(self) -> str:
        return f"expected at most {self.config.body_bytes} bytes; shrink the picture"


async def answer(send: Send, status: int, message: str) -> None:
    """A problem as the schema tells it."""
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 429:
        headers.append((b"retry-after", RETRY_AFTER.encode()))
    else:
        headers.append((b"connection", b"close"))  # the rest of its body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
