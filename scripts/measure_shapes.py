"""Scenes a second that the procedural data set gives on one core.

python scripts/measure_shapes.py [--scenes 1000] [--image-size 128]
"""

from __future__ import annotations

import argparse
import time

import torch

from glipv2.data.shapes import ShapesDataset


def scenes_a_second(dataset: ShapesDataset) -> float:
    """Samples a second over the whole data set, after a short warm-up."""
    for index in range(min(20, len(dataset))):
        dataset[index]
    begin = time.process_time()  # others' work on a shared machine doesn't count
    for index in range(len(dataset)):
        dataset[index]
    return len(dataset) / (time.process_time() - begin)


def main() -> None:
    """Prints one line with language and one without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--image-size", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for with_language in (False, True):
        dataset = ShapesDataset("train", options.scenes, image_size=options.image_size, with_language=with_language)
        rate = scenes_a_second(dataset)
        texts = "with" if with_language else "without"
        print(f"{texts:>7} language, {options.image_size} pixels: {rate:6.0f} scenes a second")


if __name__ == "__main__":
    main()
