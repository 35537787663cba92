"""Claims about the service: what the Python face says, over HTTP; problems in one line, with documented statuses."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from torch.testing import assert_close

from glipv2.data.images import read_image
from glipv2.inference import Predictor
from glipv2.serving.app import PROBLEMS, build_app
from glipv2.serving.served import ServedModel

ASKED: dict[str, dict[str, Any]] = {
    "detect": {"names": ["red circle", "star"]},
    "segment": {"names": ["red circle"]},
    "ground": {"caption": "a [red circle] left of a [star]"},
    "answer": {"question": "is there a [star]?"},
    "caption": {"beams": 2},
}


def ask(client: TestClient, way: str, content: bytes, **form: Any) -> Any:
    return client.post(f"/v1/{way}", files={"image": ("photo.png", content)}, data=form or ASKED[way])


@pytest.mark.parametrize("way", ASKED)
def test_each_task_answers_what_the_python_face_says(
    client: TestClient, predictor: Predictor, photo: bytes, way: str
) -> None:
    answer = ask(client, way, photo, **ASKED[way], threshold=0.2)
    assert answer.status_code == 200, answer.text
    picture = read_image("photo", content=photo)
    expected = {
        "detect": lambda: predictor.detect(picture, ["red circle", "star"], threshold=0.2),
        "segment": lambda: predictor.segment(picture, ["red circle"], threshold=0.2),
        "ground": lambda: predictor.ground(picture, ASKED["ground"]["caption"], threshold=0.2),
        "answer": lambda: predictor.answer(picture, ASKED["answer"]["question"], threshold=0.2),
        "caption": lambda: predictor.caption(picture, beams=2, threshold=0.2),
    }[way]()
    told = answer.json()
    assert told["image_size"] == [60, 90]
    assert list(told) == list(expected.to_dict())
    for key in ("names", "category_ids", "text", "masks"):
        assert told.get(key) == expected.to_dict().get(key)
    if "boxes" in told:
        assert_close(torch.tensor(told["boxes"]), expected.boxes, atol=1e-3, rtol=1e-4)


def test_without_names_the_trained_ones_are_found_with_their_own_ids(client: TestClient, photo: bytes) -> None:
    told = ask(client, "detect", photo, threshold=0.0).json()
    assert set(told["names"]) <= {"green star", "pink heart"}
    assert set(told["category_ids"]) <= {7, 9}
    assert len(told["boxes"]) > 0


def test_it_tells_what_it_is_and_how_it_fares(client: TestClient, photo: bytes) -> None:
    facts = client.get("/v1/model").json()
    assert facts["tasks"] == list(ASKED)
    assert facts["names"] == ["green star", "pink heart"]
    assert facts["limits"] == {
        "body_bytes": 200_000,
        "pixels": 100_000,
        "names": 5,
        "letters": 300,
        "text": 100,
        "timeout": 60.0,
    }
    assert client.get("/health/live").json() == client.get("/health/ready").json() == {"status": "ok"}
    ask(client, "detect", photo)
    ask(client, "detect", b"no picture")
    numbers = client.get("/metrics").text
    assert 'glipv2_requests_total{path="/v1/detect",status="200"} 1.0' in numbers
    assert 'glipv2_requests_total{path="/v1/detect",status="422"} 1.0' in numbers
    assert 'glipv2_batch_pictures_count{task="detect"} 1.0' in numbers
    assert "glipv2_requests_under_way 0.0" in numbers


def read_small() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((60, 60), 50).save(file, "PNG")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that claims 60 000 x 60 000 pixels."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", head) + block(b"IDAT", zlib.compress(b"\0")) + block(b"IEND", b"")


def large() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (400, 300)).save(file, "PNG")
    return file.getvalue()


SMALL = read_small()


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (b"", 422, "upload is empty"),
        (b"no picture", 422, "is not an image of a known format"),
        (b"%!PS-Adobe-3.0\n", 422, "is not an image of a known format"),
        (SMALL[:-30], 422, "is damaged"),
        (bomb(), 413, "claims"),
        (large(), 413, "400 x 300 pixels, but the limit is 100000 in all; shrink it"),
        (b"x" * 300_000, 413, "expected at most 200000 bytes; shrink the picture"),
    ],
)
def test_files_that_are_no_small_picture_are_refused(
    client: TestClient, content: bytes, status: int, told: str
) -> None:
    answer = ask(client, "detect", content)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert told in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("way", "form", "told"),
    [
        ("detect", {"names": ["cat"] * 2}, "category name 'cat' occurs twice"),
        ("detect", {"names": [f"cat {k}" for k in range(6)]}, "expected at most 5 names, but got 6"),
        ("detect", {"names": ["c" * 101]}, "expected texts of at most 100 characters, but got one of 101"),
        ("detect", {"names": [f"{k}" * 90 for k in range(4)]}, "at most 300 characters together, but got 360"),
        ("detect", {"names": ["\u200b"]}, "has no token"),
        ("detect", {"threshold": "1.5"}, "threshold: Input should be less than or equal to 1"),
        ("detect", {"threshold": "nan"}, "threshold"),
        ("ground", {"caption": "  "}, "expected a text to ground"),
        ("ground", {"caption": "of the"}, "phrase"),
        ("answer", {}, "question: Field required"),
        ("caption", {"beams": "1000"}, "beams: Input should be less than or equal to 8"),
    ],
)
def test_questions_that_make_no_sense_are_told(
    client: TestClient, photo: bytes, way: str, form: dict[str, Any], told: str
) -> None:
    answer = client.post(f"/v1/{way}", files={"image": ("photo.png", photo)}, data=form)
    assert answer.status_code == 422
    assert told in answer.json()["error"]


def test_bodies_that_can_not_be_parsed_and_places_that_are_not_there(client: TestClient) -> None:
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/detect", content=b"--x\r\nrubbish", headers=kind).status_code in (400, 422)
    assert client.post("/v1/detect", json={"image": "x"}).status_code == 422
    assert client.get("/v1/detect").json() == {"error": "Method Not Allowed; /openapi.json lists what there is"}
    assert client.post("/v1/nothing").status_code == 404


def test_only_what_the_weights_can_do_has_a_route(task: Any) -> None:
    from glipv2.serving.settings import ServeConfig
    from glipv2.structures import Vocabulary

    task.vocabulary = Vocabulary(("star",))
    model = ServedModel(Predictor(task, "cpu"), ServeConfig(weights="any"))
    _, app = build_app(model, model.config)
    routes = {path for path in app.openapi()["paths"] if path.startswith("/v1/")}
    assert routes == {"/v1/detect", "/v1/ground", "/v1/model"}


def test_the_schema_tells_every_status_of_every_task(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for way in ASKED:
        assert set(paths[f"/v1/{way}"]["post"]["responses"]) == {"200", *map(str, PROBLEMS)}


def test_a_fault_of_the_model_is_500_without_its_words_and_three_make_it_unready(
    served: Callable[..., ServedModel], photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = served()

    def breaks(*_: Any) -> None:
        raise RuntimeError("secret of the house")

    with TestClient(build_app(model, model.config)[0], raise_server_exceptions=False) as client:
        assert client.get("/health/ready").status_code == 200
        monkeypatch.setattr(model.predictor, "detect", breaks)
        for _ in range(3):
            answer = ask(client, "detect", photo)
            assert (answer.status_code, answer.json()) == (
                500,
                {"error": "a fault of the service, which its log tells"},
            )
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        monkeypatch.undo()
        assert ask(client, "detect", photo).status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_an_answer_that_takes_too_long_is_503(
    served: Callable[..., ServedModel], photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    model = served(timeout=0.3)
    monkeypatch.setattr(model.predictor, "detect", lambda *_, **__: time.sleep(0.6))
    with TestClient(build_app(model, model.config)[0], raise_server_exceptions=False) as client:
        answer = ask(client, "detect", photo)
        assert (answer.status_code, answer.json()["error"]) == (503, "no answer within 0.3 s; try again later")


def test_pictures_that_would_fill_the_memory_wait_outside(
    served: Callable[..., ServedModel], photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = served(pixels=5400, waiting_pixels=5400)
    app, _ = build_app(model, model.config)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert ask(client, "detect", photo).status_code == 200
        assert ask(client, "detect", photo).status_code == 200  # the first one's place is free again
        monkeypatch.setattr(model.config, "waiting_pixels", 5399)
        answer = ask(client, "detect", photo)
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"


def test_more_requests_than_may_wait_are_turned_away_at_the_door() -> None:
    from glipv2.serving.door import Door
    from glipv2.serving.measuring import Meter
    from glipv2.serving.settings import ServeConfig

    async def scenario() -> list[int]:
        free = asyncio.Event()
        statuses: list[int] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await free.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        door = Door(app, ServeConfig(weights="any", waiting=2), Meter())
        scope = {"type": "http", "path": "/v1/detect", "method": "POST", "headers": []}
        first = [asyncio.create_task(door(scope, None, send)) for _ in range(2)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await door(scope, None, send)  # type: ignore[arg-type]
        free.set()
        await asyncio.gather(*first)
        await door(scope, None, send)  # type: ignore[arg-type]
        return statuses

    assert asyncio.run(scenario()) == [429, 200, 200, 200]


def test_a_body_that_does_not_come_is_408(served: Callable[..., ServedModel]) -> None:
    model = served(timeout=0.2)
    app, _ = build_app(model, model.config)

    async def scenario() -> int:
        statuses: list[int] = []

        async def receive() -> Any:
            await asyncio.sleep(5)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        headers = [(b"content-type", b"multipart/form-data; boundary=x")]
        scope = {
            "type": "http", "path": "/v1/detect", "raw_path": b"/v1/detect", "method": "POST", "headers": headers,
            "query_string": b"", "root_path": "", "scheme": "http", "server": ("x", 80), "client": ("x", 1),
        }  # fmt: skip
        await app(scope, receive, send)
        return statuses[0]

    assert asyncio.run(scenario()) == 408
