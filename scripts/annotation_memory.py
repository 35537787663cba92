"""Seconds and memory that opening a large annotation file takes, and what each loader process adds.

    python scripts/annotation_memory.py --images 100000 --workers 0 2 4

Writes synthetic COCO and ODVG files of that many images (7 boxes each; the pictures are links to one small file) to a
temporary folder, opens each in a fresh process and lets loader processes read the annotations of every image once.
Memory is the proportional set size of Linux: pages that processes share are divided among them, so that the sum over
processes is what the machine really holds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from glipv2.data.coco import CocoDataset
from glipv2.data.dataset import SampleDataset
from glipv2.data.odvg import OdvgDetection

BOXES, CLASSES, SIDE = 7, 80, 64


class Truths(Dataset[int]):
    """Annotations only: how many boxes each image has."""

    def __init__(self, samples: SampleDataset) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> int:
        return len(self.samples.truth(index).boxes)


def write_files(folder: Path, count: int, seed: int) -> dict[str, Path]:
    """The files by layout, and pictures/ beside them."""
    rng = random.Random(seed)
    pictures = folder / "pictures"
    pictures.mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(pictures / "one.png")
    names = [f"{index:09d}.png" for index in range(1, count + 1)]
    for name in names:
        os.symlink("one.png", pictures / name)
    boxes = [[_box(rng) for _ in range(BOXES)] for _ in range(count)]
    labels = [[rng.randrange(CLASSES) for _ in range(BOXES)] for _ in range(count)]
    files = {"COCO": folder / "coco.json", "ODVG": folder / "odvg.jsonl"}
    annotations = [
        {"id": image * BOXES + place + 1, "image_id": image + 1, "category_id": labels[image][place] + 1,
         "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
        for image in range(count) for place, (x, y, w, h) in enumerate(boxes[image])
    ]  # fmt: skip
    images = [{"id": i + 1, "file_name": name, "width": SIDE, "height": SIDE} for i, name in enumerate(names)]
    categories = [{"id": label + 1, "name": f"name {label}"} for label in range(CLASSES)]
    files["COCO"].write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    with files["ODVG"].open("w") as file:
        for name, own, classes in zip(names, boxes, labels, strict=True):
            instances = [
                {"bbox": [x, y, x + w, y + h], "label": label, "category": f"name {label}"}
                for (x, y, w, h), label in zip(own, classes, strict=True)
            ]
            line = {"filename": name, "height": SIDE, "width": SIDE, "detection": {"instances": instances}}
            file.write(json.dumps(line) + "\n")
    return files


def _box(rng: random.Random) -> tuple[int, int, int, int]:
    x, y = rng.randrange(SIDE // 2), rng.randrange(SIDE // 2)
    return x, y, rng.randrange(2, SIDE // 2), rng.randrange(2, SIDE // 2)


def measure(layout: str, path: Path, workers: Sequence[int]) -> Iterator[str]:
    """Rows of the table for one file."""
    before = proportional_mib()
    begun = time.perf_counter()
    samples: SampleDataset = (CocoDataset if layout == "COCO" else OdvgDetection)(path, path.parent / "pictures")
    seconds, held = time.perf_counter() - begun, proportional_mib() - before
    size = path.stat().st_size / 2**20
    for count in workers:
        loader = DataLoader(Truths(samples), 256, num_workers=count, collate_fn=sum, persistent_workers=count > 0)
        begun, boxes = time.perf_counter(), sum(loader)
        rate = len(samples) / (time.perf_counter() - begun)
        assert boxes == BOXES * len(samples), "annotations were lost"
        whole = proportional_mib() + sum(proportional_mib(child.pid) for child in multiprocessing.active_children())
        yield (
            f"| {layout} | {len(samples)} | {size:.0f} | {seconds:.1f} | {held:.0f} | {count} | {whole - before:.0f} "
            f"| {rate:.0f} |"
        )
        del loader


def proportional_mib(process: int | str | None = "self") -> float:
    """Proportional set size of a process in MiB."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel tells no proportional set size")


def main() -> None:
    """Writes, measures, prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", nargs=2, metavar=("LAYOUT", "FILE"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.measure:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")  # more processes than cores is what is asked for
        for row in measure(words.measure[0], Path(words.measure[1]), words.workers):
            print(row, flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder), words.images, words.seed)
        print("| layout | images | file MiB | opening s | held MiB | workers | all processes MiB | truths/s |")
        print("|---|---|---|---|---|---|---|---|")
        for layout, path in files.items():
            numbers = map(str, words.workers)
            command = [sys.executable, __file__, "--measure", layout, str(path), "--workers", *numbers]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
