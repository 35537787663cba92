"""Claims about reading image files: what is accepted, what it becomes, and what is refused with which words."""

from __future__ import annotations

import json
import random
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, features

from glipv2.data import images
from glipv2.data.images import image_paths, read_image, to_tensor
from glipv2.errors import UserError

BAD = Path(__file__).parents[3] / "shared" / "data" / "coco_mini" / "bad"
needs_shared = pytest.mark.skipif(not BAD.is_dir(), reason=f"{BAD} is not here; it holds the broken files to read")

RED_LEFT_BLUE_RIGHT = np.array([[[255, 0, 0], [0, 0, 255]]], dtype=np.uint8)  # 1 high, 2 wide


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def pixels(path: Path, **options: bool) -> list[list[list[int]]]:
    values: list[list[list[int]]] = np.array(read_image(path, **options)).tolist()
    return values


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def png_claiming(path: Path, width: int, height: int) -> Path:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 4)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


# The shared pack of unusual files


@needs_shared
def test_every_bad_image_is_refused_by_name_and_every_odd_one_becomes_rgb() -> None:
    listed = [entry for entry in json.loads((BAD / "INDEX.json").read_text())["files"] if entry["kind"] == "image"]
    assert len(listed) == 12
    for entry in listed:
        path = BAD / entry["file"]
        if entry["expect"] == "reject":
            refusal(path)
        else:
            image = read_image(path)
            assert (image.mode, image.size) == ("RGB", (1, 1) if path.name == "1x1.png" else (96, 64)), path.name


@needs_shared
def test_odd_encodings_of_one_picture_all_look_like_it() -> None:
    reference = np.array(read_image(BAD / "animated.gif"), dtype=float).mean(axis=2)
    for name in ("cmyk.jpg", "exif_rotated.jpg", "unicode_köttbullar_фото_犬.jpg", "grayscale.png", "16bit.png"):
        gray = np.array(read_image(BAD / name), dtype=float).mean(axis=2)
        assert np.abs(gray - reference).mean() < 12, name


@needs_shared
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("truncated.jpg", "damaged (image file is truncated"),
        ("zero_bytes.jpg", "is empty (0 bytes)"),
        ("not_an_image.jpg", "not an image of a known format"),
        ("huge_header.png", "claims 3600000000 pixels"),
    ],
)
def test_the_refusal_says_what_is_wrong(name: str, words: str) -> None:
    assert words in refusal(BAD / name)


# What pixels become


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10)
    opposite = {6: 8, 8: 6}.get(orientation, orientation)  # the others are their own inverse
    stored = upright.transpose(images.UPRIGHT[opposite]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "photo.png", stored, exif=exif)
    assert pixels(path) == np.array(upright).tolist()
    assert pixels(path, upright=False) == np.array(stored).tolist()


def test_a_damaged_exif_block_does_not_cost_the_picture(tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"
    path = save(tmp_path / "photo.png", Image.fromarray(RED_LEFT_BLUE_RIGHT), exif=exif)
    assert pixels(path) == RED_LEFT_BLUE_RIGHT.tolist()


def test_16_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65535]], dtype=np.uint16)
    path = save(tmp_path / "depth.png", Image.fromarray(values))
    assert [rgb[0] for rgb in pixels(path)[0]] == [0, 0, 1, 1, 128, 255]


def test_a_16_bit_pgm_is_scaled_as_well(tmp_path: Path) -> None:
    path = tmp_path / "depth.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 257 * 7, 65535))
    assert pixels(path) == [[[7, 7, 7], [255, 255, 255]]]


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_pixels_without_a_known_range_are_refused(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "heights.tif", Image.fromarray(np.zeros((2, 2), dtype=kind)))
    assert "no known range" in refusal(path)


def test_transparent_pixels_are_laid_over_white(tmp_path: Path) -> None:
    rgba = np.array([[[255, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    path = save(tmp_path / "icon.png", Image.fromarray(rgba))
    assert pixels(path) == [[[255, 0, 0], [255, 255, 255], [127, 127, 127]]]


def test_a_palette_with_a_transparent_colour_is_laid_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 0, 200, 0])
    image.putdata([0, 1])
    assert pixels(save(tmp_path / "icon.gif", image, transparency=0)) == [[[255, 255, 255], [0, 200, 0]]]
    assert pixels(save(tmp_path / "icon.png", image, transparency=b"\x00\xff")) == [[[255, 255, 255], [0, 200, 0]]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (8, 8), "white").convert(mode)
    path = save(tmp_path / ("image.jpg" if mode in ("CMYK", "YCbCr") else "image.png"), image)
    assert (np.array(read_image(path)) >= 254).all()


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "lime", "blue")]
    path = save(tmp_path / "film.gif", frames[0], save_all=True, append_images=frames[1:])
    assert pixels(path)[0][0] == [255, 0, 0]


def test_a_name_outside_ascii_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "köttbullar фото 犬.png", Image.fromarray(RED_LEFT_BLUE_RIGHT))
    assert pixels(path) == RED_LEFT_BLUE_RIGHT.tolist()


def test_the_tensor_is_channels_first_and_contiguous(tmp_path: Path) -> None:
    tensor = to_tensor(Image.fromarray(RED_LEFT_BLUE_RIGHT))
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    assert tensor.tolist() == [[[255, 0]], [[0, 0]], [[0, 255]]]
    assert to_tensor(Image.new("L", (1, 1), 9)).tolist() == [[[9]]] * 3


# What is refused


def test_a_missing_file_a_folder_an_empty_and_a_text_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "words.jpg").write_text("not an image")
    assert "does not exist" in refusal(tmp_path / "missing.jpg")
    assert "is a folder" in refusal(tmp_path)
    assert "0 bytes" in refusal(tmp_path / "empty.jpg")
    assert "not an image" in refusal(tmp_path / "words.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".bmp", ".tif"])
def test_a_file_cut_in_half_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"image{suffix}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(path)


def test_a_huge_header_is_refused_before_pixels_are_allocated(tmp_path: Path) -> None:
    path = png_claiming(tmp_path / "bomb.png", 60_000, 60_000)
    assert "claims 3600000000 pixels, but the limit is 178956970" in refusal(path)


def test_between_pillows_warning_and_the_limit_nothing_is_said(tmp_path: Path) -> None:
    path = png_claiming(tmp_path / "large.png", 10_000, 10_000)  # Pillow warns from 89 million on
    assert "damaged" in refusal(path)  # only because its pixels are missing: the size passes


def test_the_limit_on_pixels_can_be_set_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "image.png", Image.new("RGB", (20, 10)))
    with pytest.raises(UserError, match=r"claims 20 x 10 pixels, but the limit is 199"):
        read_image(path, max_pixels=199)
    assert read_image(path, max_pixels=200).size == (20, 10)
    before = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(images, "MAX_PIXELS", 60_000 * 60_000)
    monkeypatch.setattr("PIL.Image.core.new", _no_memory)  # a limit this high lets the header through to the decoder
    with pytest.raises(MemoryError):
        read_image(png_claiming(tmp_path / "bomb.png", 60_000, 60_000))
    assert before == Image.MAX_IMAGE_PIXELS


def _no_memory(*_: object) -> None:
    raise MemoryError


def test_random_damage_gives_an_image_or_one_clear_refusal(tmp_path: Path) -> None:
    rng = random.Random(0)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 9, 3), dtype=np.uint8))
    suffixes = [".jpg", ".png", ".gif", ".webp", ".bmp", *[".avif"] * bool(features.check("avif"))]
    originals = [save(tmp_path / f"a{suffix}", noise).read_bytes() for suffix in suffixes]
    path = tmp_path / "damaged"
    outcomes, told = [], []
    for _ in range(600):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.choice([1, 2, 8])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(1, len(data))])])
        try:
            outcomes.append(read_image(path, max_pixels=1_000_000).mode)
        except UserError as error:
            outcomes.append("refused")
            told.append(str(error))
    assert set(outcomes) == {"RGB", "refused"}
    assert not any("\n" in message for message in told)


# Words that name images


def test_a_file_a_folder_and_a_glob_name_images(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.jpg", "deep/c.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    a, b, c = tmp_path / "a.jpg", tmp_path / "b.PNG", tmp_path / "deep" / "c.jpeg"
    assert image_paths(str(a)) == [a]
    assert image_paths(str(tmp_path)) == [a, b]
    assert image_paths(f"{tmp_path}/*") == [a, b]
    assert image_paths(f"{tmp_path}/**/*.j*") == [a, c]
    assert image_paths(str(tmp_path / "notes.txt")) == [tmp_path / "notes.txt"]  # named outright: reading it decides


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "photo[1].jpg").touch()
    assert image_paths(str(tmp_path / "photo[1].jpg")) == [tmp_path / "photo[1].jpg"]


def test_words_that_name_no_image_are_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"no image in .* \(1 other entries\); looked for .*\.jpg"):
        image_paths(str(tmp_path))
    with pytest.raises(UserError, match=r"no image in '.*/\*\.png'"):
        image_paths(f"{tmp_path}/*.png")
    with pytest.raises(UserError, match=r"'.*/missing' does not exist"):
        image_paths(str(tmp_path / "missing"))
