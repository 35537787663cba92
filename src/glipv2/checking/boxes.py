"""Checks of boxes that readers take and that are still suspicious: one function a check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from glipv2.checking.counts import SplitCounts
from glipv2.checking.findings import Finding
from glipv2.data.faults import Fault
from glipv2.structures import ImageTruth

THIN = 1.0  # pixels
ENOUGH = 10  # boxes before their whole says something
MANY = 0.5  # the share of boxes past the border from which their last numbers are taken for corners


def place_of_image(truth: ImageTruth) -> str:
    """ "image 7 ('a.jpg')"."""
    return f"image {truth.image_id} ('{truth.name}')"


def thin_boxes(truth: ImageTruth, names: Sequence[str], file: str) -> Iterator[Finding]:
    """Boxes thinner than a pixel."""
    sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
    for row in (sides.amin(dim=1) < THIN).nonzero().flatten().tolist():
        width, height = sides[row].tolist()
        what = f"the box of a {names[int(truth.labels[row])]} is {width:.2f} x {height:.2f} pixels"
        yield Finding("W312", file, place_of_image(truth), what, truth.name, _corners(truth, row))


def boxes_twice(truth: ImageTruth, names: Sequence[str], file: str) -> Iterator[Finding]:
    """The same box of the same class, once more. Captions share boxes, so theirs may come again."""
    if truth.captions or truth.questions:
        return
    seen: set[tuple[float, ...]] = set()
    for row, box in enumerate(truth.boxes.tolist()):
        key = (int(truth.labels[row]), *box)
        if key in seen:
            corners = ", ".join(f"{side:.1f}" for side in box)
            what = f"a {names[key[0]]} at [{corners}] (left, top, right, bottom) stands there twice"
            yield Finding("W313", file, place_of_image(truth), what, truth.name, _corners(truth, row))
        seen.add(key)


def boxes_not_in_pixels(counts: SplitCounts, largest: float, file: str) -> Iterator[Finding]:
    """All boxes of a split within one pixel: shares of the image's size. largest: the largest right or bottom."""
    if counts.boxes >= 1 and largest <= 1.0:
        what = f"no box of {counts.boxes} reaches further than {largest:.3f}: shares of the image's size"
        yield Finding("E305", file, "", what, count=1)


def corners_for_sizes(counts: SplitCounts, faults: Sequence[Fault], file: str) -> Iterator[Finding]:
    """So many boxes past the border that their last two numbers must be corners."""
    past = sum(fault.kind in ("box past the border", "box outside the image") for fault in faults)
    if past >= ENOUGH and past > MANY * max(counts.boxes, 1):
        what = (
            f"{past} of {counts.boxes} boxes reach past the border of their image; are they [left, top, right, bottom]?"
        )
        yield Finding("E306", file, "", what)


def _corners(truth: ImageTruth, row: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = truth.boxes[row].tolist()
    return left, top, right, bottom
