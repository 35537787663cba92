"""Photos streamed from shards by this project, by webdataset and by litdata, and from plain files.

    pip install webdataset litdata
    python scripts/shard_libraries.py PHOTOS --photos 500

Repeats the pictures of a folder, stores them in each way in shards of 8 MiB and reads batches of 16, shuffled and
decoded (to a tensor, by Pillow). The table says: seconds of writing, MiB, photos a second and CPU time a photo with 0
and 2 loader processes; whether a second run with the same seed gives the same order, and whether one without loader
processes does; whether a loader that is made anew in the middle of an epoch goes on with the same samples in the same
order, and after how many seconds its first batch comes; and how many batches each of two and of three ranks gets. A
library that is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from glipv2.data.coco import CocoDataset
from glipv2.data.images import SUFFIXES, read_image, to_tensor
from glipv2.data.order import TrainingOrder
from glipv2.data.shards.dataset import PackedSamples
from glipv2.data.shards.files import ReadingConfig, ShardFiles
from glipv2.data.shards.source import ViewSource
from glipv2.data.shards.writing import PackConfig, pack

BATCH, SHARD, SEED = 16, 8 * 2**20, 3
BOXES = frozenset({"boxes"})
Batches = Iterator[list[int]]  # the numbers of the photos


@dataclass(frozen=True)
class Way:
    """write: stores the photos of a folder. batches: of (stored, workers, rank, ranks, decode), from a batch on."""

    write: Callable[[Path, Path], Any]
    batches: Callable[[Path, int, int, int, bool, int], Batches]


def number_of(content: bytes, name: str, decode: bool) -> int:
    """A photo's number, after it was decoded."""
    if decode:
        to_tensor(read_image(name, content=content))
    return int(name)


class Photos(Dataset[int]):
    """By the order of a training: files, or samples of this project's shards."""

    def __init__(self, samples: Any, decode: bool) -> None:
        self.samples, self.decode = samples, decode

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Any) -> int:
        if self.decode:
            return int(self.samples[draw.index].image_id)
        return int(self.samples.truth(draw.index).image_id)


def ordered(samples: Any, workers: int, rank: int, ranks: int, decode: bool, first: int) -> Batches:
    """One epoch as training draws it."""
    order = TrainingOrder(len(samples), BATCH, str(SEED), rank=rank, world=ranks, samples=samples)
    order.start = first
    loader = DataLoader(Photos(samples, decode), batch_sampler=order, num_workers=workers, collate_fn=list)
    return islice(iter(loader), order.per_pass - first)


def coco(photos: Path) -> CocoDataset:
    """The photos as a COCO file, each with one box."""
    return CocoDataset(photos / "train.json", photos)


def write_pack(photos: Path, folder: Path) -> None:
    """The shards of this project."""
    pack({"train": [ViewSource(BOXES, coco(photos), BOXES)]}, folder, PackConfig(SHARD, 0), {})


def packed(folder: Path) -> PackedSamples:
    """Them, opened."""
    return PackedSamples(ShardFiles(str(folder), ReadingConfig()), "train", BOXES)


def web_batches(folder: Path, workers: int, rank: int, ranks: int, decode: bool, first: int) -> Batches:
    """webdataset reads the same archives; what lies before `first` is read again, for it has no other way."""
    import webdataset as wds  # noqa: PLC0415  # may not be there

    shards = sorted(map(str, folder.glob("*.tar")))
    data = wds.WebDataset(
        shards, shardshuffle=100, detshuffle=True, seed=SEED, nodesplitter=wds.split_by_node, empty_check=False
    )
    data = data.compose(wds.detshuffle(200, seed=SEED))
    data = data.map(lambda one: number_of(one["jpg"], str(json.loads(one["boxes.json"])["image_id"]), decode))
    with ranked(rank, ranks):
        yield from islice(DataLoader(data, batch_size=BATCH, num_workers=workers, collate_fn=list), first, None)


class Ranked:
    """The environment in which both libraries find the rank."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.words = {"RANK": rank, "GLOBAL_RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "NNODES": 1}

    def __enter__(self) -> None:
        os.environ.update({key: str(value) for key, value in self.words.items()})

    def __exit__(self, *_: Any) -> None:
        for key in self.words:
            os.environ.pop(key, None)


ranked = Ranked


def lit_photo(path: str) -> dict[str, Any]:
    """What litdata keeps of a photo."""
    return {"number": int(Path(path).stem), "photo": Path(path).read_bytes()}


def lit_numbers(decode: bool, rows: list[dict[str, Any]]) -> list[int]:
    """Of a batch."""
    return [number_of(one["photo"], str(one["number"]), decode) for one in rows]


def write_lit(photos: Path, folder: Path) -> None:
    """Its chunks."""
    import litdata  # noqa: PLC0415

    paths = sorted(map(str, photos.glob("*.jpg")))
    litdata.optimize(lit_photo, inputs=paths, output_dir=str(folder), chunk_bytes=SHARD, num_workers=1, verbose=False)
    multiprocessing.set_start_method("fork", force=True)  # it leaves "spawn" behind, and loaders start as the others do


def lit_batches(folder: Path, workers: int, rank: int, ranks: int, decode: bool, first: int) -> Batches:
    """It stores its loader's state; one is made by another loader up to `first`, whose time does not count."""
    import litdata  # noqa: PLC0415

    def loader() -> Any:
        data = litdata.StreamingDataset(str(folder), shuffle=True, seed=SEED, drop_last=ranks > 1)
        return litdata.StreamingDataLoader(
            data, batch_size=BATCH, num_workers=workers, collate_fn=partial(lit_numbers, decode)
        )

    with ranked(rank, ranks):
        own = loader()
        if first:
            key = (folder, workers, first)
            if key not in LIT_STATES:
                for _ in islice(own, first):
                    pass
                LIT_STATES[key] = own.state_dict()
                own = loader()
            own.load_state_dict(LIT_STATES[key])
        yield from own


LIT_STATES: dict[Any, Any] = {}
WAYS = {
    "files": Way(
        shutil.copytree,
        lambda folder, *words: ordered(coco(folder), *words),
    ),
    "glipv2": Way(write_pack, lambda folder, *words: ordered(packed(folder), *words)),
    "webdataset": Way(write_pack, web_batches),
    "litdata": Way(write_lit, lit_batches),
}


def row(name: str, photos: Path, folder: Path, count: int) -> list[str]:
    """Of the table."""
    way, begun = WAYS[name], time.perf_counter()
    way.write(photos, folder)
    cells = [name, f"{time.perf_counter() - begun:.1f}"]
    cells.append(f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 2**20:.1f}")
    for workers in (0, 2):
        begun, used = time.perf_counter(), cpu_seconds()
        seen = sum(len(batch) for batch in way.batches(folder, workers, 0, 1, True, 0))
        rate = seen / (time.perf_counter() - begun)
        cells.append(f"{rate:.0f}, {1000 * (cpu_seconds() - used) / seen:.1f} ms")
    whole = list(way.batches(folder, 2, 0, 1, False, 0))
    again, alone = (list(way.batches(folder, workers, 0, 1, False, 0)) for workers in (2, 0))
    cells.append(f"{'yes' if whole == again else 'no'}, {'yes' if whole == alone else 'no'}")
    half = count // BATCH // 2
    list(way.batches(folder, 2, 0, 1, True, half))  # where a state is needed it is made here
    begun = time.perf_counter()
    rest = way.batches(folder, 2, 0, 1, True, half)
    first = next(rest)
    seconds = time.perf_counter() - begun
    cells.append(f"{'yes' if [first, *rest] == whole[half:] else 'no'}, {seconds:.2f} s")
    for ranks in (2, 3):
        lengths = [sum(1 for _ in way.batches(folder, 2, rank, ranks, False, 0)) for rank in range(ranks)]
        cells.append(", ".join(map(str, lengths)))
    return cells


def cpu_seconds() -> float:
    """Of this process and of loader processes that have ended: what other work on the machine hardly changes."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def write_photos(source: Path, folder: Path, count: int) -> None:
    """`count` files, the pictures of `source` again and again, and a COCO file about them."""
    folder.mkdir()
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.suffix == ".jpg")
    images = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        shutil.copy(found[number % len(found)], path)
        width, height = read_image(path).size
        images.append({"id": number, "file_name": path.name, "width": width, "height": height})
    boxes = [{"id": one["id"], "image_id": one["id"], "category_id": 1, "bbox": [1, 1, 9, 9]} for one in images]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "train.json").write_text(json.dumps(content))


def main() -> None:
    """Writes, measures, prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="PHOTOS", type=Path)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    words = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        write_photos(words.source, photos, words.photos)
        print(
            "| | writing s | MiB | photos/s and CPU ms, 0 workers | 2 workers | same order again, with 0 workers "
            "| goes on mid-epoch | batches of 2 ranks | of 3 |"
        )
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
        for name in words.ways:
            if name in ("files", "glipv2") or importlib.util.find_spec(name):
                print("| " + " | ".join(row(name, photos, Path(folder, name), words.photos)) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
