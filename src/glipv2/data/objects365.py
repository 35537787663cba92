"""Objects365 files (v1 and v2): COCO's layout, with file names of another place than where the archives unpack to."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath
from typing import Any

from glipv2.data.coco import CocoDataset
from glipv2.data.faults import Faults, first_there, is_listed, is_whole

logger = logging.getLogger(__name__)

# Listed by v2, but in none of its archives (mmdetection leaves out the same three).
NEVER_SHIPPED = frozenset(
    (
        "patch16/objects365_v2_00908726.jpg",
        "patch6/objects365_v1_00320532.jpg",
        "patch6/objects365_v1_00320534.jpg",
    )
)


class Objects365Dataset(CocoDataset):
    """Images and boxes of an Objects365 file; ids, names (some misspelt) and crowd flags as they are in it.

    An image's file is `file_name` under the folder ("images/v1/patch8/objects365_v1_00420917.jpg"), or its last two
    parts ("patch8/…", as the archives unpack), or the last one, whichever is there. The three images of v2 that no
    archive holds are left out and counted in a log line. Categories stand in the order of their ids, because v1's
    train and val files list them in different orders. `isfake` (a picture of an object) and `isreflected` (an object
    in a mirror) change nothing. Faults as in `CocoDataset`.
    """

    def _content(self, faults: Faults) -> dict[str, list[Any]]:
        content = super()._content(faults)
        listings: dict[str, frozenset[str]] = {}
        images = [self._named(record, listings) for record in content["images"]]
        absent = {record["id"] for record in images if self._never_shipped(record, listings)}
        if absent:
            logger.info("%s: left out %d images that no archive of Objects365 holds", self.path, len(absent))
        return {
            "images": [record for record in images if not (isinstance(record, dict) and record.get("id") in absent)],
            "annotations": [
                record
                for record in content["annotations"]
                if not (absent and isinstance(record, dict) and record.get("image_id") in absent)
            ],
            "categories": sorted(content["categories"], key=_category_id),
        }

    def _named(self, record: Any, listings: dict[str, frozenset[str]]) -> Any:
        """The record with the file name that is there; its own where none is."""
        if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
            return record
        parts = PurePosixPath(record["file_name"]).parts
        names = (record["file_name"], "/".join(parts[-2:]), *parts[-1:])
        return {**record, "file_name": first_there(names, self.folder, listings)}

    def _never_shipped(self, record: Any, listings: dict[str, frozenset[str]]) -> bool:
        name = record.get("file_name") if isinstance(record, dict) else None
        if not isinstance(name, str) or "/".join(PurePosixPath(name).parts[-2:]) not in NEVER_SHIPPED:
            return False
        return is_whole(record.get("id")) and not is_listed(str(self.folder / name), listings)


def _category_id(record: Any) -> int:
    identity = record.get("id") if isinstance(record, dict) else None
    return identity if isinstance(identity, int) else -1
