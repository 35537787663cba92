"""The HTTP face: one route a task that the weights can do, health, metrics; OpenAPI at /openapi.json."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from glipv2 import __version__
from glipv2.errors import UserError
from glipv2.serving.answers import (
    FoundAnswers,
    FoundCaptions,
    FoundObjects,
    FoundSegments,
    Health,
    Limits,
    Problem,
    WrittenCaption,
)
from glipv2.serving.answers import (
    ServedModel as ModelFacts,
)
from glipv2.serving.batching import Batcher
from glipv2.serving.door import RETRY_AFTER, App, Door
from glipv2.serving.measuring import Meter
from glipv2.serving.served import MOST_BEAMS, Question, ServedModel
from glipv2.serving.settings import ServeConfig

log = logging.getLogger(__name__)

TOO_LARGE = "; remove or shrink it"  # how the reader of pictures goes on after the size
DECODERS = 2  # threads; more pictures at once only take memory
PROBLEMS = {
    400: "a body that can't be parsed",
    408: "it came too slowly",
    413: "a body, or a picture, that is too large",
    422: "what was asked makes no sense, or the file is no picture",
    429: "too many requests are under way: try again",
    500: "a fault of the service",
    503: "it took too long, or the service is ending",
}
Picture = Annotated[UploadFile, File(description="JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000")]
Names = Annotated[list[str], Form(description="default: those that the weights were trained on")]
Threshold = Annotated[float, Form(ge=0, le=1, description="boxes scored less are left out")]


class Service:
    """The model, what waits for it, and what of it is decoded."""

    def __init__(self, model: ServedModel, config: ServeConfig, meter: Meter) -> None:
        self.model, self.config = model, config
        self.batcher = Batcher(model.work, config.batch_size, config.linger / 1000, meter.batch)
        self.decoders = ThreadPoolExecutor(DECODERS, "decoder")
        self.ending = False
        self._pixels = 0  # of decoded pictures

    @property
    def ready(self) -> bool:
        """Whether requests are welcome."""
        return self.batcher.healthy and not self.ending

    async def answered(
        self, request: Request, upload: UploadFile, question: Callable[[], Question], threshold: float
    ) -> dict[str, Any]:
        """What the model says of an upload. HTTPException 422, 429, 503 with what to do."""
        try:
            async with asyncio.timeout(self.config.timeout):
                return await self._while_connected(request, self._found(upload, question, threshold))
        except TimeoutError as error:
            raise HTTPException(503, f"no answer within {self.config.timeout:g} s; try again later") from error
        except UserError as error:
            told, large, _ = " ".join(str(error).split()).partition(TOO_LARGE)
            raise HTTPException(413 if large else 422, f"{told}; shrink it" if large else told) from error

    async def _found(self, upload: UploadFile, question: Callable[[], Question], threshold: float) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        asked = await loop.run_in_executor(self.decoders, question)
        content = await upload.read()
        picture = await loop.run_in_executor(self.decoders, self.model.picture, content)
        size = picture.shape[-1] * picture.shape[-2]
        if self._pixels + size > self.config.waiting_pixels:
            raise HTTPException(429, "pictures that wait fill the memory; try again", {"retry-after": RETRY_AFTER})
        self._pixels += size
        try:
            found = await self.batcher.result(asked.kind, picture, asked.request)
        finally:
            self._pixels -= size
        return await loop.run_in_executor(self.decoders, lambda: found.above(threshold).to_dict())

    async def _while_connected(self, request: Request, work: Any) -> dict[str, Any]:
        """The result of `work`, which is given up when the client leaves: nobody would read it."""
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise HTTPException(499, "the client left")
            result: dict[str, Any] = working.result()
            return result
        finally:
            for task in (working, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def build_app(model: ServedModel, config: ServeConfig) -> tuple[App, FastAPI]:
    """The app to be run, and the FastAPI one in it."""
    paths = frozenset(f"/v1/{way}" for way in model.tasks)
    meter = Meter(paths)
    service = Service(model, config, meter)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        service.ending = True
        await service.batcher.stop()
        service.decoders.shutdown(wait=False)

    inner = FastAPI(
        title="glipv2", version=__version__, description="Localization and vision-language understanding in one model.",
        lifespan=life, docs_url=None, redoc_url=None,  # these pages would load scripts from elsewhere
        responses={status: {"model": Problem, "description": told} for status, told in PROBLEMS.items()},
    )  # fmt: skip
    _add_tasks(inner, service)
    _add_facts(inner, service, meter)
    _add_problems(inner)
    return Door(inner, config, meter), inner


def _add_tasks(app: FastAPI, service: Service) -> None:
    model, usual = service.model, service.config.threshold

    async def detect(request: Request, image: Picture, names: Names = [], threshold: Threshold = usual) -> Any:  # noqa: B006
        """Objects of these names."""
        return await service.answered(request, image, lambda: model.about_names("detect", names), threshold)

    async def segment(request: Request, image: Picture, names: Names = [], threshold: Threshold = usual) -> Any:  # noqa: B006
        """Objects of these names, with masks."""
        return await service.answered(request, image, lambda: model.about_names("segment", names), threshold)

    async def ground(
        request: Request, image: Picture, caption: Annotated[str, Form()], threshold: Threshold = usual
    ) -> Any:
        """Where the phrases of a caption are; [in brackets], or found by their words."""
        return await service.answered(request, image, lambda: model.about_text("ground", caption), threshold)

    async def answer(
        request: Request, image: Picture, question: Annotated[str, Form()], threshold: Threshold = usual
    ) -> Any:
        """The answer to a question, and where its phrases are."""
        return await service.answered(request, image, lambda: model.about_text("answer", question), threshold)

    async def caption(
        request: Request, image: Picture,
        beams: Annotated[int | None, Form(ge=1, le=MOST_BEAMS, description="sentences followed at once")] = None,
        threshold: Threshold = usual,
    ) -> Any:  # fmt: skip
        """A sentence about the picture, and where its phrases are."""
        return await service.answered(request, image, lambda: model.caption(beams), threshold)

    routes: dict[str, tuple[Callable[..., Any], type]] = {
        "detect": (detect, FoundObjects),
        "segment": (segment, FoundSegments),
        "ground": (ground, FoundCaptions),
        "answer": (answer, FoundAnswers),
        "caption": (caption, WrittenCaption),
    }
    for way in model.tasks:
        function, answers = routes[way]
        app.post(f"/v1/{way}", response_model=answers)(function)


def _add_facts(app: FastAPI, service: Service, meter: Meter) -> None:
    config, predictor = service.config, service.model.predictor
    limits = Limits(
        body_bytes=config.body_bytes,
        pixels=config.pixels,
        names=config.names,
        letters=config.letters,
        text=config.text,
        timeout=config.timeout,
    )

    @app.get("/v1/model")
    async def served() -> ModelFacts:
        """What is served."""
        return ModelFacts(
            model=predictor.task.model_config.name, version=__version__, tasks=list(service.model.tasks),
            names=list(predictor.vocabulary.names), limits=limits,
        )  # fmt: skip

    @app.get("/health/live")
    async def live() -> Health:
        """Whether the process answers."""
        return Health(status="ok")

    @app.get("/health/ready")
    async def ready() -> Health:
        """Whether requests are welcome; 503 otherwise."""
        if not service.ready:
            raise HTTPException(503, "not ready: the model failed several times, or the service is ending")
        return Health(status="ok")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters as Prometheus reads them."""
        return Response(meter.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_problems(app: FastAPI) -> None:
    """Every problem is told in one way."""

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        known = (
            f"{error.detail}; /openapi.json lists what there is" if error.status_code in (404, 405) else error.detail
        )
        return JSONResponse({"error": known}, error.status_code, headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return JSONResponse({"error": f"{place}: {first['msg']}; /openapi.json tells what is expected"}, 422)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": "a fault of the service, which its log tells"}, 500)
