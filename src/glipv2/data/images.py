"""Image files as people have them: upright 8-bit RGB out, or one clear refusal."""

from __future__ import annotations

import glob
import io
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from glipv2.errors import UserError

MAX_PIXELS = 178_956_970  # where Pillow itself stops: half a GiB of RGB. Set it, or the argument, for larger images

# Only formats whose decoders stay inside this process: Pillow would run Ghostscript for an EPS file.
# (A phone's MPO is opened as the JPEG it begins with.)
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2", ".avif")
)

ORIENTATION_TAG = 0x0112  # EXIF
UPRIGHT = {  # orientation in the file -> what makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ACROSS = (5, 6, 7, 8)  # orientations that swap width and height

# What Pillow's parsers let through when they meet bytes that make no sense (seen by changing bytes at random).
DECODE_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, struct.error, zlib.error)


def read_image(
    path: Path | str, *, upright: bool = True, max_pixels: int | None = None, content: bytes | None = None
) -> Image.Image:
    """The picture in a file as 8-bit RGB; the first frame where there are several.

    content: the file's bytes where they are at hand; `path` is then only what messages call them.
    `upright` follows the EXIF orientation; without it pixels stay as they are stored. Transparent
    pixels are laid over white, as viewers show them (dropping alpha would reveal whatever colour lies
    beneath). 16 bits are scaled to 8.
    Raises UserError, naming the file, for one that is missing, a folder, empty, cut off, not an image,
    of more than `max_pixels` (None: MAX_PIXELS) by its header, which is checked before anything is
    allocated, or of pixels without a known range (32-bit integers, floats).
    """
    with _opened(path, MAX_PIXELS if max_pixels is None else max_pixels, content) as image:
        return _decoded(image, upright)


@contextmanager
def _opened(path: Path | str, limit: int, content: bytes | None = None) -> Iterator[Image.Image]:
    """The file behind its header; whatever fails in the body is told as a fault of the file."""
    try:
        with open(path, "rb") if content is None else io.BytesIO(content) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF, odd palettes: what matters is raised, and the rest is noise
            if (os.fstat(file.fileno()).st_size if content is None else len(content)) == 0:
                raise UserError(f"image {path} is empty (0 bytes); copy it again or remove it")
            with _pillow_allows(limit), Image.open(file, formats=_formats()) as image:
                _refuse_huge(image, path, limit)
                yield image
    except UserError:
        raise
    except (Image.DecompressionBombError, *DECODE_ERRORS) as error:
        raise _refusal(path, error, limit) from None


def image_size(path: Path | str, *, max_pixels: int | None = None) -> tuple[int, int]:
    """(height, width) of the upright picture by its header; no pixel is decoded. UserError as from `read_image`."""
    with _opened(path, MAX_PIXELS if max_pixels is None else max_pixels) as image:
        if image.format == "PNG" and _tells_late(path):
            image.load()  # an orientation may stand behind the pixels, where Pillow finds it only after them
        across = image.format != "TIFF" and _orientation(image) in ACROSS  # Pillow turns a TIFF's size itself
        return (image.width, image.height) if across else (image.height, image.width)


def _tells_late(path: Path | str) -> bool:
    """Whether anything follows the pixels of a PNG, by the lengths of its blocks; only their heads are read."""
    with open(path, "rb") as file:
        file.seek(8)
        pixels = False
        while len(head := file.read(8)) == 8:
            kind = head[4:]
            if pixels and kind not in (b"IDAT", b"IEND"):
                return True
            pixels = pixels or kind == b"IDAT"
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


def read_described(
    path: Path | str, image_size: tuple[int, int], source: Path | str, content: bytes | None = None
) -> Image.Image:
    """The picture in the frame of its annotations: `image_size` (height, width) as the file `source` says.

    content: see `read_image`. Upright where that has the size, else as stored (COCO's own tools ignore EXIF).
    UserError where neither has it.
    """
    height, width = image_size
    image = read_image(path, content=content)
    upright = image.size
    if upright == (height, width) != (width, height):
        image = read_image(path, upright=False, content=content)
    if image.size != (width, height):
        raise UserError(
            f"image {path} is {upright[0]} x {upright[1]} pixels, but {source} describes it as "
            f"{width} x {height}; its boxes would be wrong: mend the record or put the original image back"
        )
    return image


def _refusal(path: Path | str, error: Exception, limit: int) -> UserError:
    """What to tell about an exception of the system or of Pillow."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"image {path} does not exist; check the path")
    if isinstance(error, IsADirectoryError):
        return UserError(f"expected an image file, but {path} is a folder; name a file in it")
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"{path} is not an image of a known format ({', '.join(_formats())}); convert it or remove it")
    if isinstance(error, Image.DecompressionBombError):
        pixels = re.search(r"\d+", str(error))  # Pillow tells the size nowhere else
        return _too_large(path, f"{pixels[0] if pixels else 'too many'} pixels", limit)
    if isinstance(error, OSError) and error.strerror:
        return UserError(f"image {path} can't be opened ({error.strerror}); check its permissions and the disk")
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"image {path} is damaged ({reason}); copy it again or remove it")


def to_tensor(image: Image.Image) -> Tensor:
    """Pixels as uint8 `[3, H, W]`, RGB."""
    pixels = np.array(image if image.mode == "RGB" else _to_rgb(image))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def image_paths(pattern: str) -> list[Path]:
    """The images that a user's words name: one file, the images lying in a folder, or a glob (`**` descends).

    Sorted; in folders and globs only names with an image's suffix, and no hidden ones.
    Raises UserError, telling what was looked for, when there is none.
    """
    place = Path(pattern).expanduser()
    if place.is_file():
        return [place]
    if place.is_dir():
        found = list(place.iterdir())
    else:
        if not glob.has_magic(pattern):
            raise UserError(f"expected an image, a folder or a glob, but '{pattern}' does not exist in {Path.cwd()}")
        found = [Path(name) for name in glob.glob(str(place), recursive=True)]
    images = sorted(path for path in found if _has_image_name(path) and path.is_file())
    if not images:
        suffixes = " ".join(sorted(SUFFIXES))
        raise UserError(f"found no image in '{pattern}' ({len(found)} other entries); looked for {suffixes}")
    return images


def _has_image_name(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # AVIF came late to Pillow


@contextmanager
def _pillow_allows(pixels: int) -> Iterator[None]:
    """Raises Pillow's own limit, one for the whole process, only where the caller asked for more."""
    before = Image.MAX_IMAGE_PIXELS
    if before is not None and pixels > 2 * before:
        Image.MAX_IMAGE_PIXELS = pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _refuse_huge(image: Image.Image, path: Path | str, limit: int) -> None:
    width, height = image.size
    if width * height > limit:
        raise _too_large(path, f"{width} x {height} pixels", limit)


def _too_large(path: Path | str, claimed: str, limit: int) -> UserError:
    return UserError(
        f"the header of image {path} claims {claimed}, but the limit is {limit} in all; "
        "remove or shrink it, or raise glipv2.data.images.MAX_PIXELS if you trust it"
    )


def _decoded(image: Image.Image, upright: bool) -> Image.Image:
    image.load()
    turn = UPRIGHT.get(_orientation(image)) if upright else None
    rgb = _to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; a damaged EXIF block does not make good pixels unreadable."""
    try:
        value = Image.Image.getexif(image).get(ORIENTATION_TAG, 1)  # a PNG's own would decode it first
    except DECODE_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # these say "I" for 16 bits; a TIFF means 32
        return _from_16_bits(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range; convert them to 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """65535 becomes 255, rounded; Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
