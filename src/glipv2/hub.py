"""The model hub's client, kept from waiting for a hub that does not answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 5  # seconds to open a connection


def hub_answers() -> bool:
    """Whether a connection to the hub can be opened; behind a proxy only trying tells, so it counts as one."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if {"http", "https", "all"} & set(getproxies()):
        return True
    place = urlsplit(constants.ENDPOINT)
    try:
        port = place.port or (80 if place.scheme == "http" else 443)
        socket.create_connection((place.hostname or "", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


@contextmanager
def hub() -> Iterator[None]:
    """Below, the hub's client reads its cache alone where the hub does not answer.

    Left to itself it tries each file six times over, half a minute each, also for files that it has.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = not hub_answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
