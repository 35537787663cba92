"""The arithmetic of the paper's pre-training of GLIPv2-T: GPU hours, storage and bandwidth, each from stated numbers.

python scripts/pretraining_plan.py                                  # V100, as published for GLIP-T
python scripts/pretraining_plan.py --images-per-second 6 --gpus 8   # with a speed that you measured
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

SOURCES = {"Objects365": 0.66e6, "GoldG": 0.8e6, "Cap4M": 4.0e6}  # images, as GLIP and GLIPv2 count them
KILOBYTES = 150  # of a stored picture: an assumption, for no data set was at hand
CHECKPOINT = 4 * 4 * 232e6  # bytes: weights, their average and two moments of 232 M parameters


@dataclass(frozen=True)
class Pretraining:
    """images: a pass; epochs; images_per_second: of one GPU; gpus; kilobytes: of a picture."""

    images: float
    epochs: int
    images_per_second: float
    gpus: int
    kilobytes: float = KILOBYTES

    @property
    def gpu_hours(self) -> float:
        """Images seen over images a second."""
        return self.images * self.epochs / self.images_per_second / 3600

    @property
    def days(self) -> float:
        """Of wall time, if all GPUs keep up."""
        return self.gpu_hours / self.gpus / 24

    @property
    def terabytes(self) -> float:
        """Of pictures."""
        return self.images * self.kilobytes * 1e3 / 1e12

    @property
    def megabytes_per_second(self) -> float:
        """That all GPUs read together."""
        return self.gpus * self.images_per_second * self.kilobytes / 1e3

    def line(self, name: str) -> str:
        """A row for people."""
        return (
            f"{name:24s} {self.images / 1e6:5.2f} M × {self.epochs} / {self.images_per_second:g} images/s = "
            f"{self.gpu_hours:7.0f} GPU h, {self.days:5.1f} days on {self.gpus}; {self.terabytes:.2f} TB, "
            f"{self.megabytes_per_second:.1f} MB/s"
        )


def plans(epochs: int, speed: float, gpus: int) -> dict[str, Pretraining]:
    """Without and with the pseudo-labelled captions."""
    both = SOURCES["Objects365"] + SOURCES["GoldG"]
    return {
        "O365 + GoldG": Pretraining(both, epochs, speed, gpus),
        "O365 + GoldG + Cap4M": Pretraining(sum(SOURCES.values()), epochs, speed, gpus),
    }


def main() -> None:
    """Prints both rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--images-per-second", type=float, default=1.62, help="of one GPU; GLIP-T on a V100: 1.62")
    parser.add_argument("--gpus", type=int, default=32)
    options = parser.parse_args()
    for name, plan in plans(options.epochs, options.images_per_second, options.gpus).items():
        print(plan.line(name))
    print(f"a checkpoint: {CHECKPOINT / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
