"""Claims about reading shards: what fails is tried again, then told, counted, and left out where that is asked for."""

from __future__ import annotations

import functools
import http.server
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from packs import BOXES, HASTY, SMALL, assert_same, assert_same_samples, coco, packed, reopened
from torch.utils.data import DataLoader

from glipv2.data.datamodule import DataModule, Feed
from glipv2.data.order import TrainingOrder
from glipv2.data.shards import files
from glipv2.data.shards.dataset import PackedSamples, ShardError
from glipv2.data.shards.files import ReadingConfig
from glipv2.data.shards.writing import PackConfig
from glipv2.data.sources import AutoData, PackedData
from glipv2.data.transforms import ExampleDataset
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig

PIXELS = PixelConfig(short_side=16, max_long_side=32)
PAIRS = PackConfig(shard_bytes=300, workers=0)  # two pictures a shard


@pytest.fixture
def pack(folder: Path) -> Path:
    """Five pictures, each in a shard of its own."""
    packed(folder, coco(folder))
    return folder / "packed"


def fails(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """So many reads fail before others succeed; gives the calls."""
    calls: list[int] = []

    def pread(*arguments: Any) -> bytes:
        calls.append(1)
        if len(calls) <= times:
            raise OSError("the cable was out")
        return real(*arguments)

    real = os.pread
    monkeypatch.setattr(files.os, "pread", pread)
    return calls


def test_a_read_that_fails_is_tried_again(
    pack: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = reopened(pack)[1]
    calls = fails(monkeypatch, 2)
    samples = reopened(pack)
    assert_same(samples[1], expected)
    assert len(calls) == 4  # annotations in three tries, the picture in one
    assert "train-000001.tar: the cable was out; try 2 of 3" in caplog.text
    assert not samples.failed.any()


def test_after_the_last_try_the_shard_is_told_with_place_and_remedy(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fails(monkeypatch, 99)
    samples = reopened(pack)
    with pytest.raises(ShardError, match=r"train-000001\.tar can't be read: the cable was out; tried 3 times; copy it"):
        samples[1]
    assert samples.failed.tolist() == [False, True, False, False, False]
    with pytest.raises(ShardError, match="could not be read"):  # and is not tried again
        samples.truth(1)
    assert len(calls) == 3


def test_tries_wait_longer_each_time(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(files.time, "sleep", waited.append)
    fails(monkeypatch, 99)
    with pytest.raises(ShardError):
        reopened(pack, reading=ReadingConfig(retries=3, pause=0.5))[0]
    assert waited == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:700]), "has 700 bytes, expected 10240"),
        (lambda path: path.write_bytes(b""), "has 0 bytes"),
    ],
)
def test_a_shard_that_is_not_whole_is_told(pack: Path, change: Any, message: str) -> None:
    change(pack / "train-000002.tar")
    with pytest.raises(ShardError, match=message):
        reopened(pack)[2]
    reopened(pack)[3]


def test_a_changed_byte_is_noticed_and_costs_one_sample(pack: Path) -> None:
    path = pack / "train-000002.tar"
    content = bytearray(path.read_bytes())
    content[content.index(b'boxes":') + 9] ^= 1
    path.write_bytes(content)
    samples = reopened(pack)
    with pytest.raises(UserError, match=r"truth of sample 2 of .*train-000002\.tar: .* not those that were packed"):
        samples[2]
    assert not samples.failed.any()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("index.json", None, r"index\.json can't be read \(there is no such file\); give what glipv2 data pack wrote"),
        ("index.json", b"{", r"index\.json is not JSON"),
        ("index.json", b"{}", r"index\.json is no index of shards"),
        (
            "index.json",
            b'{"format": "glipv2 shards", "version": 99}',
            r"has version 99, this glipv2 reads 1; pack anew",
        ),
        ("index.json", b'{"format": "glipv2 shards", "version": 1, "splits": {"train": {}}}', r"lacks a field"),
        ("train.boxes.rows", b"123", r"train\.boxes\.rows has 3 bytes, expected 180"),
        ("train.boxes.rows", None, r"train\.boxes\.rows can't be read"),
    ],
)
def test_a_pack_with_a_broken_index_is_refused(pack: Path, name: str, content: bytes | None, message: str) -> None:
    (pack / name).unlink() if content is None else (pack / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        PackedData(path=str(pack), reading=HASTY).dataset("train", BOXES)


def test_what_a_pack_lacks_is_told_with_what_it_has(pack: Path) -> None:
    with pytest.raises(UserError, match=r"has no split 'val', only train; set data\.val\.path"):
        PackedData(path=str(pack)).dataset("val", BOXES)
    with pytest.raises(UserError, match=r"'train' was packed without questions \(it has: boxes\)"):
        PackedData(path=str(pack)).check_needs(frozenset({"questions"}), ["train"], "task=vqa")
    with pytest.raises(UserError, match=r"data=packed needs data\.path"):
        PackedData().dataset("train", BOXES)
    with pytest.raises(UserError, match="retries, pause and cache_gib of at least 0"):
        PackedData(path=str(pack), reading=ReadingConfig(retries=-1)).dataset("train", BOXES)
    with pytest.raises(UserError, match="data=packed"):
        AutoData(path="https://nowhere.invalid/pack").dataset("train", BOXES)


# Left out


def test_a_training_counts_a_broken_shard_once_and_goes_on(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    packed(folder, coco(folder, 6), PAIRS)
    assert len(list((folder / "packed").glob("*.tar"))) == 3
    (folder / "packed/train-000001.tar").unlink()
    feeds = {"detection": Feed(BOXES, lambda samples, training: list)}
    config = PackedData(1, 1, workers=1, path=str(folder / "packed"), on_error="skip", reading=HASTY)
    data = DataModule(config, PIXELS, feeds, train=True, eval_split="train")
    source = data._training_source("detection")
    source.loader.collate_fn = list
    with caplog.at_level(logging.WARNING):
        met = [example.truth.image_id for batch, _ in zip(source.loader, range(6), strict=False) for example in batch]
    assert len(met) == 6
    assert set(met) == {0, 1, 4, 5}
    assert data.skipped_shards == 1
    assert data.skipped_pictures == 2
    assert caplog.text.count("left out of evaluation: shard") == 1
    assert len(data.eval_samples["detection"]) == 4


def test_the_first_broken_shard_ends_a_training_that_does_not_skip(pack: Path) -> None:
    (pack / "train-000004.tar").unlink()
    examples = ExampleDataset(reopened(pack), PIXELS, None)
    with pytest.raises(UserError, match=r"train-000004\.tar can't be read"):
        [examples[index] for index in range(5)]


# The order of a training


def met(samples: PackedSamples, number: int, count: int, rank: int = 0, world: int = 1) -> list[int]:
    """The images of `count` batches of two from one on, on a rank."""
    order = TrainingOrder(len(samples), 2, "seed", rank=rank, world=world, samples=samples)
    loader = DataLoader(ExampleDataset(samples, PIXELS, None), batch_sampler=order, collate_fn=list)
    order.start = number
    return [example.truth.image_id for batch, _ in zip(loader, range(count), strict=False) for example in batch]


def test_a_training_goes_on_in_the_middle_of_a_pass_with_the_same_samples_in_the_same_order(folder: Path) -> None:
    packed(folder, coco(folder, 9), PAIRS)
    whole = met(reopened(folder / "packed", window=2), 0, 12)
    assert len(set(whole[:8])) == 8
    assert whole[:8] != whole[8:16]
    for number in range(12):  # in passes of four batches
        assert whole[: 2 * number] + met(reopened(folder / "packed", window=2), number, 12 - number) == whole


@pytest.mark.parametrize("world", [2, 3])
def test_every_rank_has_as_many_batches_and_none_has_a_sample_twice(folder: Path, world: int) -> None:
    packed(folder, coco(folder, 14), PAIRS)
    samples = reopened(folder / "packed")
    orders = [TrainingOrder(14, 2, "seed", rank=rank, world=world, samples=samples) for rank in range(world)]
    assert len({order.per_pass for order in orders}) == 1
    batches = orders[0].per_pass
    ranks = [met(samples, 0, batches, rank, world) for rank in range(world)]
    assert [len(own) for own in ranks] == [2 * batches] * world
    every = [one for own in ranks for one in own]
    assert len(set(every)) == len(every)


def test_a_pass_reads_the_shards_of_a_window_at_a_time(folder: Path) -> None:
    packed(folder, coco(folder, 8), PAIRS)
    images = met(reopened(folder / "packed", window=2), 0, 4)
    assert [len({image // 2 for image in images[start : start + 4]}) for start in (0, 4)] == [2, 2]


# Behind an address


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; `asked` are the names that were asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path.rsplit("/", 1)[-1])
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address(pack: Path) -> Iterator[str]:
    Quiet.asked = []
    handler = functools.partial(Quiet, directory=str(pack.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/packed"
    server.shutdown()
    thread.join()
    server.server_close()


def remote(address: str, cache: Path, **options: Any) -> PackedSamples:
    return reopened(address, reading=ReadingConfig(retries=1, pause=0.0, cache=str(cache), **options))


def test_a_pack_behind_an_address_gives_the_same_samples_and_each_shard_is_fetched_once(
    pack: Path, address: str, tmp_path: Path
) -> None:
    samples = remote(address, tmp_path / "cache")
    loader: DataLoader[Any] = DataLoader(samples, batch_size=None, num_workers=2)  # forked with a connection open
    for _ in range(2):
        for found, expected in zip(loader, iter(reopened(pack)[index] for index in range(5)), strict=True):
            assert_same(found, expected)
    assert sorted(name for name in Quiet.asked if name.endswith(".tar")) == [f"train-{n:06d}.tar" for n in range(5)]
    assert_same_samples(PackedData(path=address, reading=samples.files.config).dataset("train"), reopened(pack))


def test_what_was_fetched_is_compared_with_what_was_packed(pack: Path, address: str, tmp_path: Path) -> None:
    path = pack / "train-000003.tar"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"!")
    samples = remote(address, tmp_path / "cache")
    with pytest.raises(ShardError, match=r"not what was packed \(sha256 differs\); tried 2 times"):
        samples[3]
    assert not list((tmp_path / "cache").rglob("train-000003.tar*partial"))
    with pytest.raises(UserError, match=r"/nothing/index\.json can't be read \(.*; tried 2 times"):
        remote(address.replace("packed", "nothing"), tmp_path / "cache")


def test_a_limited_cache_forgets_what_was_unused_longest(address: str, tmp_path: Path) -> None:
    samples = remote(address, tmp_path / "cache", cache_gib=25_000 / 2**30)  # two shards of 10 240 bytes
    for index in (0, 1):
        samples[index]
    for path in sorted((tmp_path / "cache").rglob("*.tar")):
        os.utime(path, (time.time() - 100, time.time() - (100 if "000001" in path.name else 50)))
    samples[2]
    assert sorted(path.name for path in (tmp_path / "cache").rglob("*.tar")) == ["train-000000.tar", "train-000002.tar"]
    samples[1]  # it is open still


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere://x/index\.json can't be opened: Protocol not known"):
        remote("nowhere://x", tmp_path)


def test_the_smallest_settings_make_a_shard_a_picture(pack: Path) -> None:
    assert SMALL.shard_bytes == 1
    assert len(list(pack.glob("train-*.tar"))) == 5
