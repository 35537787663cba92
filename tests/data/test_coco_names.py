"""Claims about COCO's names: they are COCO's."""

from __future__ import annotations

import json
from pathlib import Path

from glipv2.data.coco_names import COCO


def test_there_are_eighty_names_with_the_gaps_of_their_ids() -> None:
    assert len(COCO) == 80
    assert COCO.names[0] == "person"
    assert COCO.category_ids[11] == 13
    assert COCO.names[COCO.label_of_id(90)] == "toothbrush"


def test_they_are_the_names_and_ids_of_cocos_own_files(shared: Path) -> None:
    content = json.loads((shared / "data/coco_mini/annotations/instances_val2017.json").read_text())
    assert dict(zip(COCO.category_ids, COCO.names, strict=True)) == {
        entry["id"]: entry["name"] for entry in content["categories"]
    }
