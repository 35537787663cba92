"""Claims about what is known of an image without its picture."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from coco_file import HEIGHT, WIDTH, good
from PIL import Image, ImageFile
from protocol_files import lvis, mdetr, write_flickr, write_images
from split_files import split

from glipv2.data.coco import CocoDataset
from glipv2.data.dataset import SampleDataset
from glipv2.data.flickr30k import Flickr30kDataset
from glipv2.data.images import image_size, read_image
from glipv2.data.joined import AnswerChoice, ImageFiles
from glipv2.data.lvis import LvisDataset
from glipv2.data.mdetr import MdetrDataset
from glipv2.data.shapes import ShapesDataset
from glipv2.data.truths import truth_of
from glipv2.structures import ImageTruth


def assert_equal(first: ImageTruth, second: ImageTruth) -> None:
    for entry in fields(ImageTruth):
        mine, theirs = getattr(first, entry.name), getattr(second, entry.name)
        same = torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs
        assert same, f"{entry.name}: {mine} is not {theirs}"


def readers(folder: Path) -> Iterator[tuple[str, SampleDataset]]:
    """One of every kind that reads files."""
    images = write_images(folder / "pictures")
    for name, content in (("mdetr", mdetr()), ("lvis", lvis())):
        write_json(folder / f"{name}.json", content)
    files = split(folder)
    choice = AnswerChoice(10, 1)
    yield "coco", files.samples(frozenset({"boxes"}), "raise", None, "train")
    yield "joined", files.samples(frozenset({"captions", "questions"}), "raise", choice, "train")
    yield "lvis", LvisDataset(folder / "lvis.json", images)
    yield "mdetr", MdetrDataset(folder / "mdetr.json", images)
    yield "flickr30k", Flickr30kDataset(write_flickr(folder / "flickr"), images, "test")
    yield "a folder", ImageFiles(images)
    yield "records", ImageFiles(folder / "images", records=good()["images"])


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def test_the_truth_is_the_sample_without_its_picture(folder: Path) -> None:
    for _, dataset in readers(folder):
        for index in range(len(dataset)):
            assert_equal(dataset.truth(index), truth_of(dataset[index]))
        assert_equal(dataset.truth(-1), dataset.truth(len(dataset) - 1))


def test_no_picture_is_decoded_for_the_truth(folder: Path) -> None:
    for name, dataset in list(readers(folder)):
        with mock.patch.object(ImageFile.ImageFile, "load", side_effect=AssertionError(f"{name} decodes")):
            assert [dataset.truth(index).name for index in range(len(dataset))]


def test_a_scene_tells_the_truth_of_its_sample() -> None:
    scenes = ShapesDataset("val", 3, image_size=64)
    assert_equal(scenes.truth(1), truth_of(scenes[1]))


def test_masks_are_there_only_where_the_file_was_opened_with_them(folder: Path) -> None:
    content = good()
    del content["annotations"][2]
    write_json(folder / "instances.json", content)
    plain, masked = (CocoDataset(folder / "instances.json", folder / "images", with_masks=own) for own in (False, True))
    assert plain.truth(0).masks is None
    found = masked.truth(0)
    assert found.masks is not None
    assert found.masks.shape == (1, HEIGHT, WIDTH)
    assert_equal(found, truth_of(masked[0]))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_the_size_by_the_header_is_that_of_the_upright_picture(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (6, 4)).save(path, exif=exif)
    width, height = read_image(path).size
    assert image_size(path) == (height, width)


def test_an_orientation_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = b"eXIf" + exif.tobytes()[6:]
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    early = (tmp_path / "a.png").read_bytes()
    block = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(early[:-12] + block + early[-12:])  # IEND has 12 bytes
    assert read_image(tmp_path / "a.png").size == (4, 6)
    assert image_size(tmp_path / "a.png") == (6, 4)
