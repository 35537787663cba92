"""Pictures inside the page: re-encoded until the whole page stays small."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

PAGE_BYTES = 5_200_000  # all pictures of a page before base64 adds a third: the page stays below 8 MB
MOST, LEAST = 260_000, 10_000  # bytes one picture may take, however few or many there are
SIDES = (1280, 960, 720, 540, 400, 280)  # longest sides tried, in pixels
JPEG_QUALITY = 84


@dataclass(frozen=True)
class InlinePicture:
    """A picture as a data URI, with the size in pixels it is encoded at."""

    uri: str
    width: int
    height: int


def byte_limit(count: int) -> int:
    """How many bytes each of `count` pictures of one page may take."""
    return min(MOST, max(LEAST, PAGE_BYTES // max(1, count)))


def inline_picture(path: Path, limit: int) -> InlinePicture | None:
    """The picture in `path` as PNG or JPEG, whichever is smaller, shrunk until it fits in `limit` bytes.

    None when the file can't be read as a picture.
    """
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    # Pillow reports broken files by all of these, and one too large to be honest by the last.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return inlined(picture, limit)


def inlined(picture: Image.Image, limit: int, *, photograph: bool = False) -> InlinePicture:
    """A picture as PNG or JPEG, whichever is smaller, shrunk until it fits in `limit` bytes.

    photograph: JPEG is smaller, and PNG, which takes ten times as long, need not be tried.
    """
    for side in SIDES:
        picture = _at_most(picture, side)
        kind, content = _encoded(picture, photograph)
        if len(content) <= limit:
            break
    return InlinePicture(
        f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}", picture.width, picture.height
    )


def _at_most(picture: Image.Image, side: int) -> Image.Image:
    factor = side / max(picture.size)
    if factor >= 1:
        return picture
    width, height = (max(1, round(length * factor)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _encoded(picture: Image.Image, photograph: bool) -> tuple[str, bytes]:
    png, jpeg = io.BytesIO(), io.BytesIO()
    # Without chroma subsampling: it smears thin coloured lines and the text on them. Not with
    # optimize=True, by which Pillow fails on pictures that compress badly.
    picture.save(jpeg, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    if photograph:
        return "jpeg", jpeg.getvalue()
    picture.save(png, "PNG")
    return min(("png", png.getvalue()), ("jpeg", jpeg.getvalue()), key=lambda choice: len(choice[1]))
