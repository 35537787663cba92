"""Detection: every object of the prompt's names, as scored boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from glipv2.data.collate import EvaluationCollator, TrainingCollator
from glipv2.data.prompts import PromptComposer
from glipv2.losses.grounding import GroundingLossConfig, grounding_loss
from glipv2.metrics.coco import CocoBoxAP
from glipv2.models.heads.selection import ScoredBoxes, SelectionConfig, candidate_boxes, joined, select
from glipv2.structures import DetectionBatch, Detections, ImageBatch, PromptBatch, RegionOutputs, Vocabulary
from glipv2.structures.boxes import scale_boxes
from glipv2.tasks.base import LossReport, Scores, Task, TaskConfig

if TYPE_CHECKING:
    from glipv2.data.datamodule import Collator
    from glipv2.data.dataset import DataConfig, SampleDataset
    from glipv2.models import ModelConfig


@dataclass
class DetectionConfig(TaskConfig):
    """`task=detection`."""

    name: ClassVar[str] = "detection"
    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})
    monitor: ClassVar[str] = "detection/box_ap"

    selection: SelectionConfig = field(default_factory=SelectionConfig)

    def build(self, model: ModelConfig, loss: GroundingLossConfig) -> DetectionTask:
        """A detector with fresh heads."""
        return DetectionTask(self, model, loss)

    def collator(self, model: ModelConfig, data: DataConfig, samples: SampleDataset, training: bool) -> Collator:
        """Sampled prompts with boxes for training, all names for evaluation."""
        composer = PromptComposer(samples.vocabulary, model.tokenizer.build(), data.prompts, samples.scored_names)
        return (TrainingCollator if training else EvaluationCollator)(model.pixels, composer)


class DetectionTask(Task):
    """Core and region head, trained with the grounding loss, measured by COCO AP."""

    config: DetectionConfig

    def __init__(self, config: DetectionConfig, model: ModelConfig, loss: GroundingLossConfig) -> None:
        super().__init__()
        self.config = config
        self.loss_config = loss
        self.boxes = model.regions.boxes
        self.core = model.build_core()
        self.model_config = self.core.config
        self.regions = model.regions.build(self.core.image_width, self.core.text_width, model.image.levels)
        self.metric: CocoBoxAP | None = None

    def forward(self, images: ImageBatch, prompts: PromptBatch) -> RegionOutputs:
        """Raw region outputs for one prompt an image."""
        return self.regions(self.core(images, prompts.text).after)  # type: ignore[no-any-return]

    def losses(self, batch: DetectionBatch) -> LossReport:
        """Alignment, box and centerness terms."""
        assert batch.targets is not None, "a training batch carries targets"
        prompt = batch.prompts[0]
        outputs = self(batch.images, prompt)
        terms = grounding_loss(outputs, batch.targets, prompt.text.token_mask, self.boxes, self.loss_config)
        return LossReport(
            terms={"alignment": terms.alignment, "box": terms.box, "centerness": terms.centerness},
            report={"matched_regions": terms.matched},
        )

    def predictions(self, batch: DetectionBatch) -> list[Detections]:
        """Detections in original pixels, over `vocabulary`. No image's result depends on its neighbours."""
        assert self.vocabulary is not None, "set task.vocabulary (or call reset_metric) before predicting"
        found: dict[int, ScoredBoxes] = {}
        for rows, images in batch.images.by_padded_size(self.model_config.pixels.size_divisor):
            prompts = [prompt.rows(rows) for prompt in batch.prompts]
            for row, boxes in zip(rows, self._found(images, prompts), strict=True):
                found[row] = boxes
        sizes = batch.images.image_sizes.tolist()
        return [
            self._in_original(found[row], (sizes[row][0], sizes[row][1]), truth.image_size, self.vocabulary)
            for row, truth in enumerate(batch.truth)
        ]

    def _found(self, images: ImageBatch, prompts: Sequence[PromptBatch]) -> list[ScoredBoxes]:
        """Boxes in the model-input frame; the image is encoded once for all prompts."""
        levels = self.core.image(images.pixels)
        candidates: list[list[ScoredBoxes]] = [[] for _ in range(len(images))]
        for prompt in prompts:
            fused = self.core.fuse(levels, self.core.text(prompt.text), prompt.text.token_mask)
            outputs = self.regions(fused.after)
            for row, (height, width) in enumerate(images.image_sizes.tolist()):
                candidates[row].append(
                    candidate_boxes(
                        outputs,
                        row,
                        prompt.phrase_map[row],
                        prompt.phrase_labels[row],
                        (height, width),
                        self.boxes,
                        self.config.selection,
                    )
                )
        return [select(joined(parts), self.boxes, self.config.selection) for parts in candidates]

    def _in_original(
        self, found: ScoredBoxes, model_size: tuple[int, int], image_size: tuple[int, int], vocabulary: Vocabulary
    ) -> Detections:
        boxes = scale_boxes(found.boxes, model_size, image_size)
        return Detections(boxes, found.scores, found.labels, image_size, vocabulary)

    def reset_metric(self, vocabulary: Vocabulary, scored_names: Sequence[str]) -> None:
        """A fresh COCO AP over `scored_names`."""
        self.vocabulary = vocabulary
        self.metric = CocoBoxAP(vocabulary, scored_names)

    def update_metric(self, predictions: Sequence[Detections], batch: DetectionBatch) -> None:
        """Counts one batch."""
        assert self.metric is not None, "call reset_metric first"
        self.metric.update([found.to("cpu") for found in predictions], [truth.to("cpu") for truth in batch.truth])

    def compute_metric(self) -> Scores:
        """The twelve COCO numbers and AP by name."""
        assert self.metric is not None, "call reset_metric first"
        return self.metric.compute()
