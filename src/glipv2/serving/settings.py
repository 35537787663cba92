"""What a service allows: sizes, texts, waiting and time."""

from __future__ import annotations

from dataclasses import dataclass

from glipv2.errors import UserError
from glipv2.ranges import at_least, check_ranges, share, within

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass
class ServeConfig:
    """`glipv2 serve KEY=VALUE …`.

    host, port: where it listens; only this machine reaches the default. device, precision: see `glipv2 predict`.
    batch_size: requests that the model works on at once; linger: milliseconds to wait for further ones. waiting:
    requests that may be under way before others are turned away (429); waiting_pixels: of their decoded pictures
    together. timeout: seconds for a request, its upload included. body_bytes, pixels: of one picture. names: of one
    request; letters: of all its names together, which decide how long it takes; text: characters of a caption, a
    question or a name. threshold: where a request gives none.
    """

    weights: str = ""
    host: str = "127.0.0.1"
    port: int = within(0, 65_535, 8000)
    device: str = "auto"
    precision: str = "32"
    batch_size: int = at_least(1, 8)
    linger: float = at_least(0, 5.0)
    waiting: int = at_least(1, 64)
    waiting_pixels: int = at_least(1, 200_000_000)
    timeout: float = at_least(0.1, 30.0)
    body_bytes: int = at_least(1024, 10 * 2**20)
    pixels: int = at_least(1, 25_000_000)
    names: int = within(1, 900, 200)
    letters: int = at_least(1, 5000)
    text: int = at_least(1, 1000)
    threshold: float = share(0.3)

    def check(self) -> None:
        """UserError for limits that make no sense."""
        check_ranges(self)
        if not self.weights:
            raise UserError("weights is not set; as in glipv2 serve weights=runs/demo")
        if self.pixels > self.waiting_pixels:
            raise UserError(f"waiting_pixels: expected at least pixels={self.pixels}, but got {self.waiting_pixels}")

    @property
    def is_private(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK
