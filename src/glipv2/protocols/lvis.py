"""Box AP on LVIS v1, its names in chunks: normal (300 boxes an image) and fixed (10 000 a class)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from glipv2.data.lvis import Judgement, LvisDataset
from glipv2.data.prompts import PromptConfig
from glipv2.losses.glipv2 import LossConfig
from glipv2.metrics.lvis import FIXED, NORMAL, LvisBoxAP, LvisScores
from glipv2.models.heads.selection import ScoredBoxes, joined
from glipv2.protocols.base import ProtocolConfig, Round, detection_of, given_path, percent
from glipv2.ranges import at_least
from glipv2.structures import DetectionBatch, Detections, ImageBatch, PromptBatch
from glipv2.structures.truth import LvisTruth
from glipv2.tasks.base import Task
from glipv2.tasks.detection import DetectionConfig, DetectionTask

if TYPE_CHECKING:
    from glipv2.data.dataset import SampleDataset
    from glipv2.models import Parts

COLUMNS = ("ap", "ap_rare", "ap_common", "ap_frequent", "ap_50", "ap_75")


@dataclass
class LvisProtocol(ProtocolConfig):
    """`protocol=lvis`: an LVIS v1 file (val, minival) and the folder of COCO's images.

    names_a_prompt: how many names one prompt holds at most, 0 = as many as the token budget allows (fewer, longer
    prompts: faster, but not the released evaluation); boxes_a_prompt: kept of each prompt for an image.
    """

    name: ClassVar[str] = "lvis"

    annotations: str | None = None
    images: str | None = None
    names_a_prompt: int = at_least(1, 40)
    boxes_a_prompt: int = at_least(1, 300)

    def rounds(self, trained: Task) -> Sequence[Round]:
        """One; of its boxes the 300 best an image are written."""
        annotations, images = given_path(self.annotations, "annotations"), given_path(self.images, "images")
        samples = LvisDataset(annotations, images, on_error=self.on_error)
        selection = replace(detection_of(trained).selection, max_detections=self.boxes_a_prompt)
        task = LvisDetectionConfig(selection=selection)
        data = self.data(samples, PromptConfig(eval_names=self.names_a_prompt))
        return [Round(self.name, task, data, written=NORMAL.an_image or 0)]

    def table(self, scores: Mapping[str, float]) -> list[list[str]]:
        """Both APs and those of rare, common and frequent names, in percent."""
        rows = {"lvis box": "lvis/box_", "lvis box, fixed": "lvis/box_fixed_"}
        numbers = [[row, *(percent(scores, own + name) for name in COLUMNS)] for row, own in rows.items()]
        return [["", *COLUMNS], *numbers]


@dataclass
class LvisDetectionConfig(DetectionConfig):
    """Detection whose prompts do not compete: `selection.max_detections` counts for each prompt alone."""

    def assemble(self, parts: Parts, loss: LossConfig) -> LvisDetectionTask:
        """A detector from a model's parts."""
        return LvisDetectionTask(self, parts, loss)


class LvisDetectionTask(DetectionTask):
    """Boxes of all prompts side by side, as in the released evaluation; measured by both LVIS APs."""

    def __init__(self, config: DetectionConfig, parts: Parts, loss: LossConfig) -> None:
        super().__init__(config, parts, loss)
        self.normal: LvisBoxAP | None = None
        self.fixed: LvisBoxAP | None = None
        self._judgements: Mapping[int, Judgement] = {}

    def _found(self, images: ImageBatch, prompts: Sequence[PromptBatch]) -> list[ScoredBoxes]:
        """The image is encoded once; suppression and the limit see one prompt at a time."""
        levels = self.core.image(images.pixels)
        selection = self.config.selection
        chunks = [
            self.grounding.kept([found], selection)
            for found in self.grounding.candidates(levels, prompts, images.image_sizes, selection)
        ]
        return [best_first(joined(parts)) for parts in zip(*chunks, strict=True)]

    def reset_metric(self, samples: SampleDataset) -> None:
        """Fresh APs over the file's names."""
        assert isinstance(samples, LvisDataset), "this task is measured on LVIS files"
        self.vocabulary = samples.vocabulary
        self._judgements = samples.judgements
        self.normal = LvisBoxAP(samples.vocabulary, samples.frequencies, NORMAL)
        self.fixed = LvisBoxAP(samples.vocabulary, samples.frequencies, FIXED)

    def update_metric(self, predictions: Sequence[Detections], batch: DetectionBatch) -> None:
        """Counts one batch."""
        assert self.normal is not None and self.fixed is not None, "call reset_metric first"
        found = [one.to("cpu") for one in predictions]
        truth = [self._truth(objects.image_id, batch, row) for row, objects in enumerate(batch.truth)]
        self.normal.update(found, truth)
        self.fixed.update(found, truth)

    def _truth(self, image_id: int, batch: DetectionBatch, row: int) -> LvisTruth:
        judged = self._judgements[image_id]
        return LvisTruth(batch.truth[row].to("cpu"), judged.negative, judged.not_exhaustive)

    def compute_metric(self) -> LvisReport:
        """Normal and fixed AP."""
        assert self.normal is not None and self.fixed is not None, "call reset_metric first"
        return LvisReport(self.normal.compute(), self.fixed.compute())


@dataclass(frozen=True)
class LvisReport:
    """Both APs."""

    normal: LvisScores
    fixed: LvisScores

    def flat(self, prefix: str) -> dict[str, float]:
        """lvis/box_ap, …, lvis/box_fixed_ap, …"""
        return self.normal.flat(prefix) | self.fixed.flat(prefix)


def best_first(boxes: ScoredBoxes) -> ScoredBoxes:
    """The same in the order of their scores; equal ones stay in theirs."""
    order = boxes.scores.argsort(descending=True, stable=True)
    return ScoredBoxes(boxes.boxes[order], boxes.scores[order], boxes.labels[order])
