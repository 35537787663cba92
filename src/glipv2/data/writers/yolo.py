"""YOLO: data.yaml, images/SPLIT with links to the pictures, labels/SPLIT with boxes in parts of the picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from glipv2.data.coco import corners_within
from glipv2.data.writers.numbers import same
from glipv2.data.writers.parts import MOVED, Written
from glipv2.data.yolo import box_of
from glipv2.structures import ImageTruth

COMMON_DIGITS = 6  # what most tools write; more where the box would be another one


def write_yolo(written: Written) -> None:
    """Crowds are left out, because YOLO would take one for an object."""
    import yaml

    names = dict(enumerate(written.samples.vocabulary.names))
    labels = f"labels/{written.split}"
    written.check_names(labels, ".txt", "YOLO")
    for truth in written.truths():
        written.add_picture(truth.name, f"images/{written.split}")
        written.write(f"{labels}/{PurePosixPath(truth.name).with_suffix('.txt')}", _lines(truth, written))
    written.lose_image_ids()
    written.lose_category_ids(0)
    description = written.out / "data.yaml"
    content = yaml.safe_load(description.read_text("utf-8")) if description.is_file() else {"path": "."}
    content = {**content, written.split: f"images/{written.split}", "names": names}
    description.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")


def _lines(truth: ImageTruth, written: Written) -> Iterator[str]:
    written.lost["crowd regions (left out)"] += int(truth.is_crowd.sum())
    written.lose_areas_and_masks(truth)
    height, width = truth.image_size
    for corners, label, is_crowd in zip(
        truth.boxes.tolist(), truth.labels.tolist(), truth.is_crowd.tolist(), strict=True
    ):
        if not is_crowd:
            values = parts_of(corners, height, width)
            written.lost[MOVED] += not _is_read(values, corners, height, width)
            yield " ".join([str(label), *map(repr, values)]) + "\n"


def parts_of(corners: list[float], height: int, width: int) -> list[float]:
    """Centre and sides in parts of the picture, in as few digits as give the same corners back."""
    left, top, right, bottom = corners
    exact = [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height]
    for digits in (COMMON_DIGITS, 8, 10, 12, 14):
        rounded = [round(value, digits) for value in exact]
        if _is_read(rounded, corners, height, width):
            return rounded
    return exact


def _is_read(values: list[float], corners: list[float], height: int, width: int) -> bool:
    read, _ = corners_within(box_of(values, height, width), height, width)
    return all(same(mine, theirs) for mine, theirs in zip(read, corners, strict=True))
