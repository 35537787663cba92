"""Box AP on a COCO instances file, all of its names in the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from glipv2.data.coco import CocoDataset
from glipv2.protocols.base import ProtocolConfig, Round, detection_of, given_path, percent
from glipv2.tasks.base import Task

COLUMNS = ("ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large")


@dataclass
class CocoProtocol(ProtocolConfig):
    """`protocol=coco`: a COCO instances file and the folder of its images."""

    name: ClassVar[str] = "coco"

    annotations: str | None = None
    images: str | None = None

    def rounds(self, trained: Task) -> Sequence[Round]:
        """One."""
        annotations, images = given_path(self.annotations, "annotations"), given_path(self.images, "images")
        samples = CocoDataset(annotations, images, on_error=self.on_error)
        return [Round(self.name, detection_of(trained), self.data(samples))]

    def table(self, scores: Mapping[str, float]) -> list[list[str]]:
        """The six APs, in percent."""
        return [["", *COLUMNS], ["coco box", *(percent(scores, f"coco/box_{column}") for column in COLUMNS)]]
