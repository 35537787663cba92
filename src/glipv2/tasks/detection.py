"""Detection: every object of the prompt's names, as scored boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from glipv2.data.collate import EvaluationCollator, NamePrompts, TrainingCollator
from glipv2.data.prompts import PromptComposer, names_in_text
from glipv2.losses.glipv2 import LossConfig
from glipv2.metrics.coco import CocoBoxAP
from glipv2.metrics.detection_rows import distinct_rows
from glipv2.metrics.errors import detection_errors
from glipv2.models.heads.selection import ScoredBoxes, SelectionConfig
from glipv2.structures import DetectionBatch, Detections, ImageBatch, ImageTruth, PromptBatch, RegionOutputs, Vocabulary
from glipv2.tasks.base import LossReport, Scores, Task, TaskConfig
from glipv2.tasks.grounding import Grounding, image_by_image, in_original

if TYPE_CHECKING:
    from glipv2.data.datamodule import Collator
    from glipv2.data.dataset import DataConfig, SampleDataset
    from glipv2.models import Core, ModelConfig, Parts
    from glipv2.models.heads.regions import RegionHead


@dataclass
class DetectionConfig(TaskConfig):
    """`task=detection`."""

    name: ClassVar[str] = "detection"
    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})
    monitor: ClassVar[str] = "detection/box_ap"
    headlines: ClassVar[tuple[str, ...]] = ("box_ap_50", "box_ap_75", "box_ar_100")

    selection: SelectionConfig = field(default_factory=SelectionConfig)

    def assemble(self, parts: Parts, loss: LossConfig) -> DetectionTask:
        """A detector from a model's parts."""
        return DetectionTask(self, parts, loss)

    def collator(self, model: ModelConfig, data: DataConfig, samples: SampleDataset, training: bool) -> Collator:
        """Sampled prompts with boxes for training, all names for evaluation."""
        composer = PromptComposer(samples.vocabulary, model.tokenizer.build(), data.prompts, samples.scored_names)
        return (TrainingCollator if training else EvaluationCollator)(model.pixels, composer)


class DetectionTask(Task):
    """Core and region head, trained with the grounding loss, measured by COCO AP."""

    config: DetectionConfig
    core: Core
    regions: RegionHead

    def __init__(self, config: DetectionConfig, parts: Parts, loss: LossConfig) -> None:
        super().__init__(config, parts)
        self.grounding = self.uses(Grounding.of(parts, loss))
        self.metric: CocoBoxAP | None = None
        self._prompts = NamePrompts(parts.tokenizer)

    def forward(self, images: ImageBatch, prompts: PromptBatch) -> RegionOutputs:
        """Raw region outputs for one prompt an image."""
        return self.regions(self.core(images, prompts.text).after)  # type: ignore[no-any-return]

    def losses(self, batch: DetectionBatch) -> LossReport:
        """Alignment, box and centerness terms, and those of contrast and masked words where they have weight."""
        assert batch.targets is not None, "a training batch carries targets"
        levels = self.core.image(batch.images.pixels)
        step = self.grounding.step(levels, batch.prompts[0], batch.targets, batch.words)
        return LossReport(step.terms, step.report)

    def predictions(self, batch: DetectionBatch) -> list[Detections]:
        """Detections in original pixels, over `vocabulary`. No image's result depends on its neighbours."""
        assert self.vocabulary is not None, "set task.vocabulary (or call reset_metric) before predicting"
        found = image_by_image(batch, self.model_config.pixels.size_divisor, self._found)
        return in_original(found, batch, self.vocabulary, self.regions.config.boxes)

    def request(self, text: str) -> Vocabulary:
        """Names separated by full stops."""
        return Vocabulary(names_in_text(text))

    def batch_for(self, images: ImageBatch, truth: tuple[ImageTruth, ...], request: Vocabulary) -> DetectionBatch:
        """Every name of the request for every image."""
        self.vocabulary = request
        return DetectionBatch(images, self._prompts(request, len(images)), None, truth)

    def _found(self, images: ImageBatch, prompts: Sequence[PromptBatch]) -> list[ScoredBoxes]:
        """Boxes in the model-input frame; the image is encoded once for all prompts."""
        levels = self.core.image(images.pixels)
        found = self.grounding.candidates(levels, prompts, images.image_sizes, self.config.selection)
        return self.grounding.kept(found, self.config.selection)

    def reset_metric(self, samples: SampleDataset) -> None:
        """A fresh COCO AP over the data set's scored names."""
        self.vocabulary = samples.vocabulary
        self.metric = CocoBoxAP(samples.vocabulary, samples.scored_names)

    def update_metric(self, predictions: Sequence[Detections], batch: DetectionBatch) -> None:
        """Counts one batch."""
        assert self.metric is not None, "call reset_metric first"
        self.metric.update([found.to("cpu") for found in predictions], [truth.to("cpu") for truth in batch.truth])

    def compute_metric(self) -> Scores:
        """The twelve COCO numbers and AP by name."""
        assert self.metric is not None, "call reset_metric first"
        return self.metric.compute()

    def diagnosis(self) -> Mapping[str, Any] | None:
        """Kinds of errors, confusions, precision by recall."""
        if self.metric is None:
            return None
        rows = distinct_rows(self.metric.joined_table())
        return detection_errors(*rows, self.metric.vocabulary.names).to_dict()
