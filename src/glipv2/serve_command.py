"""The words of `glipv2 serve`. Imports nothing heavy until weights are read."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from glipv2.errors import UserError, missing_extra

if TYPE_CHECKING:
    from glipv2.serving.settings import ServeConfig

HELP = """\
usage: glipv2 serve weights=RUN_OR_FILE [KEY=VALUE …]

An HTTP service with a route for every task that the weights can do: POST /v1/detect, segment, ground, answer, caption.
Requests that come together are computed together. GET /v1/model, /health/live, /health/ready, /metrics, /openapi.json.

  host=127.0.0.1   port=8000      only this machine reaches the default; there is no log-in: put a proxy before others
  device=auto      precision=32   as for glipv2 predict
  batch_size=8     linger=5       pictures computed at once; milliseconds to wait for further ones
  waiting=64                      requests under way before others are answered 429; waiting_pixels=200000000
  timeout=30       body_bytes=10485760   pixels=25000000   limits of one request;
  names=200        letters=5000   text=1000    characters of all names, and of a caption or question
  threshold=0.3                   where a request gives none

examples
  glipv2 serve weights=runs/demo
  curl -F image=@photo.jpg -F names="red circle" -F names="blue square" localhost:8000/v1/detect
  curl -F image=@photo.jpg -F question="how many stars are there?" localhost:8000/v1/answer
"""


def serve_command(arguments: Sequence[str], quieten: Callable[[], None] = lambda: None) -> None:
    """`glipv2 serve …`; UserError for words that are not as expected, weights, and a port that is taken."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise missing_extra(f"{error.name}, which the service needs,", "serve") from error
    from glipv2.config import from_words
    from glipv2.serving.settings import ServeConfig

    config = from_words(ServeConfig, arguments)
    config.check()
    place = bound(config)
    try:
        quieten()
        _serve(config, place)
    finally:
        place.close()


def bound(config: ServeConfig) -> socket.socket:
    """A socket at the address, taken before the weights are read, which takes long."""
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        place = socket.socket(family)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((config.host, config.port))
    except OSError as error:
        told = f"{config.host}:{config.port} can't be listened at ({(error.strerror or str(error)).lower()})"
        raise UserError(f"{told}; choose another port= or host=, or end what listens there") from error
    return place


def _serve(config: ServeConfig, place: socket.socket) -> None:
    import uvicorn

    from glipv2.inference import Predictor
    from glipv2.serving.app import build_app
    from glipv2.serving.served import ServedModel

    model = ServedModel(Predictor.load(config.weights, config.device, precision=config.precision), config)
    model.warm_up()
    app, _ = build_app(model, config)
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=int(config.timeout) + 1,
            timeout_keep_alive=5, server_header=False, limit_concurrency=None,
        )
    )  # fmt: skip
    host = f"[{config.host}]" if ":" in config.host else config.host
    print(f"serving {', '.join(model.tasks)} at http://{host}:{place.getsockname()[1]}; Ctrl-C ends", flush=True)
    if not config.is_private:
        print("others can reach it, and there is no log-in: put a proxy before it", flush=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once it has ended the server repeats the signal that ended it
    with suppress(KeyboardInterrupt):
        server.run(sockets=[place])
    print("ended; what was under way is answered", flush=True)
