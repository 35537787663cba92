"""What bfloat16, channels-last and torch.compile change in a prediction: box AP and the largest differences.

python scripts/precision_accuracy.py WEIGHTS --scenes 200
python scripts/precision_accuracy.py WEIGHTS --scenes 24 --compile inductor   # takes minutes before its first picture

All ways predict the same scenes with all names; a detection of the exact way that is scored 0.3 or better is compared
with the nearest of the same name. Nothing is timed here: see scripts/bench.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from screening_recall import COUNTED, average_precision
from torchvision.ops import box_iou

from glipv2.data.shapes import ShapesDataset
from glipv2.inference import Predictor
from glipv2.structures import Detections


def main(words: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", default="", help="a backend to compare too")
    given = parser.parse_args(words)
    ways = {"float32": {}, "bfloat16": {"precision": "bf16"}, "channels last": {"channels_last": True}}
    if given.compile:
        ways["compiled"] = {"compile": given.compile}
    scenes = ShapesDataset("val", given.scenes, with_language=False)
    pictures = [scenes[index].image for index in range(given.scenes)]
    exact: list[Detections] = []
    print(f"{'':14} box AP  scores differ by  boxes by (pixels)  lost")
    for name, settings in ways.items():
        model = Predictor.load(given.weights, given.device, **settings)
        found = model.detect(pictures, scenes.vocabulary.names)
        exact = exact or found
        score, box, lost = differences(exact, found)
        print(f"{name:14} {average_precision(found, scenes):.4f}  {score:16.1e}  {box:17.2f}  {lost:4d}")


def differences(exact: Sequence[Detections], found: Sequence[Detections]) -> tuple[float, float, int]:
    """The largest of scores and of box corners, and how many counted detections have no box of IoU 0.5 any more."""
    score = box = 0.0
    lost = 0
    for own, other in zip(exact, found, strict=True):
        counted = own.above(COUNTED)
        for corners, label, value in zip(counted.boxes, counted.labels, counted.scores, strict=True):
            same = other.labels == label
            overlaps = box_iou(corners[None], other.boxes[same])[0]
            if not len(overlaps) or overlaps.max() < 0.5:
                lost += 1
                continue
            nearest = int(overlaps.argmax())
            score = max(score, float((other.scores[same][nearest] - value).abs()))
            box = max(box, float((other.boxes[same][nearest] - corners).abs().max()))
    return score, box, lost


if __name__ == "__main__":
    main()
