"""Small packs, and what tells two samples apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from coco_file import good, opened
from PIL import Image
from torch import Tensor

from glipv2.data.dataset import SampleDataset
from glipv2.data.shards.dataset import PackedSamples
from glipv2.data.shards.files import ReadingConfig, ShardFiles
from glipv2.data.shards.layout import PackIndex
from glipv2.data.shards.source import ViewSource
from glipv2.data.shards.writing import PackConfig, pack
from glipv2.structures import ImageTruth, Sample

BOXES = frozenset({"boxes"})
HASTY = ReadingConfig(retries=2, pause=0.0)
SMALL = PackConfig(shard_bytes=1, workers=0)  # a picture a shard


def source(samples: SampleDataset, needs: frozenset[str] = BOXES) -> list[ViewSource]:
    """One need, which the samples hold and no more."""
    return [ViewSource(needs, samples, needs)]


def coco(folder: Path, count: int = 5) -> SampleDataset:
    """So many pictures of their own colours, each with a box; see the fixture `folder`."""
    content = good()
    content["images"] = [
        {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30} for number in range(count)
    ]
    for number in range(count):
        Image.new("RGB", (40, 30), (number, 7, 0)).save(folder / "images" / f"{number}.png")
    content["annotations"] = [
        {"id": number, "image_id": number, "category_id": 90, "bbox": [1.1, 2, 10 + number, 20.3]}
        for number in range(count)
    ]
    return opened(folder, content)


def packed(
    folder: Path, samples: SampleDataset, config: PackConfig = SMALL, words: Mapping[str, Any] | None = None
) -> PackIndex:
    """`samples` as the split "train" of `folder`/packed."""
    return pack({"train": source(samples)}, folder / "packed", config, words or {})


def reopened(folder: Path | str, needs: frozenset[str] = BOXES, split: str = "train", **options: Any) -> PackedSamples:
    """The samples of a pack; a failed read is tried again twice, at once."""
    return PackedSamples(ShardFiles(str(folder), options.pop("reading", HASTY)), split, needs, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_same(found: ImageTruth | Sample | Any, expected: Any) -> None:
    """Every field, tensors to the last bit and of the same type."""
    if isinstance(expected, Tensor):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert torch.equal(found, expected)
    elif hasattr(expected, "__dataclass_fields__"):
        assert type(found) is type(expected)
        for entry in fields(expected):
            assert_same(getattr(found, entry.name), getattr(expected, entry.name))
    elif isinstance(expected, tuple):
        assert isinstance(found, tuple)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected
        assert type(found) is type(expected)


def assert_same_samples(found: SampleDataset, expected: SampleDataset, rows: Sequence[int] | None = None) -> None:
    """The same samples in the same order; `rows`: those that are compared, None = all."""
    assert len(found) == len(expected)
    assert found.vocabulary == expected.vocabulary
    assert tuple(found.scored_names) == tuple(expected.scored_names)
    assert found.answers == expected.answers
    for index in range(len(expected)) if rows is None else (row for row in rows if row < len(expected)):
        assert_same(found[index], expected[index])
        assert_same(found.truth(index), expected.truth(index))
