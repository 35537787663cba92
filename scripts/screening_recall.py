"""What screening of names keeps: the exact predictions on scenes beside those after a first look, by names kept.

python scripts/screening_recall.py WEIGHTS --scenes 200 --keep 4 8 16 28

Recall is the share of exact detections scored 0.3 or better that are found again: same name, IoU of 0.9, any score.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from torchvision.ops import box_iou

from glipv2.data.shapes import ShapesDataset
from glipv2.data.transforms import truth_of
from glipv2.inference import Predictor
from glipv2.metrics.coco import CocoBoxAP
from glipv2.structures import Detections

COUNTED, SAME = 0.3, 0.9


def main(words: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--keep", type=int, nargs="+", default=[4, 8, 16, 28])
    given = parser.parse_args(words)
    model = Predictor.load(given.weights, "cpu")
    scenes = ShapesDataset("val", given.scenes, with_language=False)
    pictures = [scenes[index].image for index in range(given.scenes)]
    exact = model.detect(pictures, scenes.vocabulary.names)
    print(f"all {len(scenes.vocabulary)} names: box AP {average_precision(exact, scenes):.4f}")
    for keep in given.keep:
        screened = model.detect(pictures, scenes.vocabulary.names, screen=keep)
        again = [hit for pair in zip(exact, screened, strict=True) for hit in found_again(*pair)]
        print(
            f"{keep:3d} names kept: box AP {average_precision(screened, scenes):.4f}, "
            f"recall {sum(again) / len(again):.4f} of {len(again)} detections"
        )


def average_precision(found: Sequence[Detections], scenes: ShapesDataset) -> float:
    """COCO's, over the scored names."""
    metric = CocoBoxAP(scenes.vocabulary, scenes.scored_names)
    metric.update(list(found), [truth_of(scenes[index]) for index in range(len(found))])
    return float(metric.compute().flat("detection")["detection/box_ap"])


def found_again(exact: Detections, screened: Detections) -> Iterator[bool]:
    """For each exact detection that counts."""
    counted = exact.above(COUNTED)
    for box, label in zip(counted.boxes, counted.labels, strict=True):
        same = screened.boxes[screened.labels == label]
        yield bool(len(same)) and bool((box_iou(box[None], same) >= SAME).any())


if __name__ == "__main__":
    main()
