"""Video files: upright RGB frames with their times out, annotated frames in. Decoding is PyAV's, FFmpeg in a wheel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glipv2.errors import UserError, missing_extra

SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"))
USUAL_RATE = Fraction(25)  # frames a second of a file that does not say
TICK = Fraction(1, 90_000)  # seconds; frames keep their own times, also where they come irregularly
ENCODERS = ("libx264", "mpeg4")  # the first that the installed FFmpeg has


@dataclass(frozen=True)
class Frame:
    """A frame by its number from 0, when it is shown (seconds), and its pixels uint8 RGB [3, H, W]."""

    number: int
    seconds: float
    pixels: Tensor


@dataclass(frozen=True)
class Video:
    """An open video. rate: frames a second on average; count: of frames as the file says, 0 where it does not."""

    path: Path
    rate: Fraction
    count: int
    container: Any

    def frames(self) -> Iterator[Frame]:
        """Every frame, upright, in the order of showing; UserError where the file is damaged."""
        first = None
        with told_of(self.path):
            for number, frame in enumerate(self.container.decode(video=0)):
                seconds = float(number / self.rate) if frame.time is None else float(frame.time)
                first = seconds if first is None else first
                turned = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90) % 4)
                pixels = torch.from_numpy(np.ascontiguousarray(turned)).permute(2, 0, 1)
                yield Frame(number, seconds - first, pixels)


def is_video(images: str) -> bool:
    """Whether a user's words name one video file."""
    path = Path(images).expanduser()
    return path.suffix.lower() in SUFFIXES and path.is_file()


@contextmanager
def opened_video(path: Path) -> Iterator[Video]:
    """UserError for a file that is no video, and where PyAV is not installed."""
    av = _av()
    with told_of(path):
        container = av.open(str(path))
    try:
        if not container.streams.video:
            raise UserError(f"{path} holds no video; expected a file with pictures, as clip.mp4")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = Fraction(stream.average_rate or stream.guessed_rate or USUAL_RATE)
        yield Video(path, rate, stream.frames, container)
    finally:
        container.close()


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """What FFmpeg complains about as a fault of the file."""
    av = _av()
    try:
        yield
    except av.error.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"{path} can't be read as a video ({reason}); play it, or convert it to .mp4") from error


class VideoFile:
    """An .mp4 that grows frame by frame; the size of the first decides, even as its encoder wants it."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        self._av = _av()
        self._container = self._av.open(str(path), "w", format="mp4")
        name = next(name for name in ENCODERS if name in self._av.codec.codecs_available)
        self._stream = self._container.add_stream(name, rate=rate.limit_denominator(1001), bit_rate=4_000_000)
        self._stream.pix_fmt = "yuv420p"  # what every player reads
        self._sized = False
        self._latest = -1

    def add(self, pixels: np.ndarray[Any, Any], seconds: float) -> None:
        """A frame uint8 [H, W, 3]; one that is larger than the first is cut, a smaller one stands on white."""
        if not self._sized:
            height, width = pixels.shape[:2]
            self._stream.height, self._stream.width = height + height % 2, width + width % 2
            self._stream.codec_context.time_base = TICK
            self._sized = True
        canvas = np.full((self._stream.height, self._stream.width, 3), 255, np.uint8)
        height, width = (min(mine, own) for mine, own in zip(canvas.shape[:2], pixels.shape[:2], strict=True))
        canvas[:height, :width] = pixels[:height, :width]
        frame = self._av.VideoFrame.from_ndarray(canvas, format="rgb24")
        self._latest = max(self._latest + 1, round(seconds / TICK))  # an encoder refuses a time that does not grow
        frame.pts, frame.time_base = self._latest, TICK
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Writes what the encoder still holds."""
        if self._sized:
            self._container.mux(self._stream.encode())
        self._container.close()


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise missing_extra("PyAV, which reads videos,", "video") from error
    return av
