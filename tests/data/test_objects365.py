"""Claims about Objects365 files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from coco_file import good
from formats import HEIGHT, WIDTH, write_pictures

from glipv2.data.objects365 import Objects365Dataset
from glipv2.errors import UserError

FILE = "images/v1/patch8/objects365_v1_00420917.jpg"
ABSENT = "images/v2/patch16/objects365_v2_00908726.jpg"


def content() -> dict[str, list[dict[str, object]]]:
    names = ((ABSENT, 1), (FILE, 2))
    boxes = {"iscrowd": 0, "isfake": 1, "isreflected": 0, "bbox": [1, 2, 10, 10], "area": 100}
    return {
        "images": [{"id": one, "file_name": name, "height": HEIGHT, "width": WIDTH} for name, one in names],
        "annotations": [{"id": 10 + one, "image_id": one, "category_id": 6, **boxes} for _, one in names],
        "categories": [{"id": 52, "name": "Bakset"}, {"id": 6, "name": "Car"}],
    }


@pytest.mark.parametrize("place", [FILE, "patch8/objects365_v1_00420917.jpg", "objects365_v1_00420917.jpg"])
def test_pictures_are_found_as_the_archives_unpack(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_pictures(tmp_path, (place,))
    (tmp_path / "a.json").write_text(json.dumps(content()))
    with caplog.at_level("INFO"):
        dataset = Objects365Dataset(tmp_path / "a.json", tmp_path)
    assert "left out 1 images that no archive of Objects365 holds" in caplog.text
    assert (dataset.image_ids, dataset[0].name) == ([2], place)
    assert dataset.truth(0).boxes.tolist() == [[1, 2, 11, 12]]


def test_categories_stand_in_the_order_of_their_ids(tmp_path: Path) -> None:
    write_pictures(tmp_path, (FILE,))
    (tmp_path / "a.json").write_text(json.dumps(content()))
    assert Objects365Dataset(tmp_path / "a.json", tmp_path).vocabulary.names == ("Car", "Bakset")


def test_other_missing_images_are_faults(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(good()))
    with pytest.raises(UserError, match="3 of 3 image files are missing"):
        Objects365Dataset(tmp_path / "a.json", tmp_path)
