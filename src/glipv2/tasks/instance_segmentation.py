"""Instance segmentation: every object of the prompt's names as a box and a mask. A phrase is a name like others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from glipv2.data.collate import EvaluationCollator, NamePrompts, TrainingCollator
from glipv2.data.prompts import PromptComposer, names_in_text
from glipv2.errors import UserError, nearest
from glipv2.losses.glipv2 import LossConfig
from glipv2.losses.masks import jittered, mask_loss
from glipv2.metrics.coco import CocoBoxAP, CocoMaskAP, CocoScores
from glipv2.metrics.detection_rows import distinct_rows
from glipv2.metrics.errors import detection_errors
from glipv2.metrics.run_lengths import run_lengths
from glipv2.models.heads.masks import MaskHead, MaskRegions
from glipv2.models.heads.selection import ScoredBoxes, SelectionConfig
from glipv2.structures import (
    DetectionBatch,
    Features,
    ImageBatch,
    ImageTruth,
    PromptBatch,
    Segments,
    Vocabulary,
)
from glipv2.structures.luck import JITTER, MASKS, uniform
from glipv2.structures.masks import crop_masks
from glipv2.tasks.base import LossReport, Scores, Task, TaskConfig
from glipv2.tasks.grounding import Grounding, drawn, image_by_image, in_original

if TYPE_CHECKING:
    from glipv2.data.datamodule import Collator
    from glipv2.data.dataset import DataConfig, SampleDataset
    from glipv2.models import Core, ModelConfig, Parts
    from glipv2.models.heads.regions import RegionHead

JOINT, MASK_HEAD_ONLY = "joint", "mask_head_only"


@dataclass
class InstanceSegmentationConfig(TaskConfig):
    """`task=instance_segmentation`.

    train: "joint" trains everything with the grounding and the mask loss; "mask_head_only" trains the mask
    head on weights that detect already, everything else frozen (the paper's second stage).
    """

    name: ClassVar[str] = "instance_segmentation"
    needs: ClassVar[frozenset[str]] = frozenset({"boxes", "masks"})
    monitor: ClassVar[str] = "instance_segmentation/mask_ap"
    headlines: ClassVar[tuple[str, ...]] = ("mask_ap_50", "mask_ap_75", "box_ap")

    train: str = JOINT
    selection: SelectionConfig = field(default_factory=SelectionConfig)

    def check(self, started: bool) -> None:
        """UserError for an unknown `train`, and where a mask head would be put on an untrained model."""
        if self.train not in (JOINT, MASK_HEAD_ONLY):
            raise UserError(f"task.train: no way '{self.train}'; {nearest(self.train, (JOINT, MASK_HEAD_ONLY))}")
        if self.train == MASK_HEAD_ONLY and not started:
            raise UserError(
                f"task.train={MASK_HEAD_ONLY} trains nothing else; give weights that detect, as in weights=RUN"
            )

    def build(self, model: ModelConfig, loss: LossConfig, answers: Sequence[str] = ()) -> Task:
        """Frozen but for the mask head where it alone is trained; jointly with other tasks nothing is frozen."""
        task = super().build(model, loss, answers)
        if self.train == MASK_HEAD_ONLY:
            for name, part in task.named_children():
                part.requires_grad_(name == "masks")
        return task.train()

    def assemble(self, parts: Parts, loss: LossConfig) -> InstanceSegmentationTask:
        """A detector with a mask head from a model's parts."""
        return InstanceSegmentationTask(self, parts, loss)

    def collator(self, model: ModelConfig, data: DataConfig, samples: SampleDataset, training: bool) -> Collator:
        """Sampled prompts with boxes and masks for training, all names for evaluation."""
        composer = PromptComposer(samples.vocabulary, model.tokenizer.build(), data.prompts, samples.scored_names)
        if training:
            return TrainingCollator(model.pixels, composer, with_masks=True)
        return EvaluationCollator(model.pixels, composer)


@dataclass(frozen=True)
class SegmentationScores:
    """COCO's numbers twice: by the overlap of masks and of boxes."""

    mask: CocoScores
    box: CocoScores

    def flat(self, prefix: str) -> dict[str, float]:
        """For a logger: "instance_segmentation/mask_ap", …, "instance_segmentation/box_ap", …"""
        return {**self.mask.flat(prefix), **self.box.flat(prefix)}


@dataclass(frozen=True)
class FoundObjects:
    """Boxes of one image and what each one's mask looks like on the cells of its box, [K, S, S]."""

    boxes: ScoredBoxes
    cells: Tensor


class InstanceSegmentationTask(Task):
    """Core, region head and mask head; boxes as in detection, then a mask in each box that stays."""

    config: InstanceSegmentationConfig
    core: Core
    regions: RegionHead
    masks: MaskHead

    def __init__(self, config: InstanceSegmentationConfig, parts: Parts, loss: LossConfig) -> None:
        super().__init__(config, parts)
        self.grounding = self.uses(Grounding.of(parts, loss))
        self.masks = parts.masks
        self.loss = loss
        self.mask_metric: CocoMaskAP | None = None
        self.box_metric: CocoBoxAP | None = None
        self._prompts = NamePrompts(parts.tokenizer)

    def losses(self, batch: DetectionBatch) -> LossReport:
        """The grounding terms and the mask term; with "mask_head_only" the latter alone."""
        assert batch.targets is not None, "a training batch carries targets"
        if self.config.train == MASK_HEAD_ONLY:
            with torch.no_grad():
                features = self.core(batch.images, batch.prompts[0].text).after
            return LossReport({"masks": self._mask_loss(features, batch)}, {})
        levels = self.core.image(batch.images.pixels)
        step = self.grounding.step(levels, batch.prompts[0], batch.targets, batch.words)
        return LossReport({**step.terms, "masks": self._mask_loss(step.features.after, batch)}, step.report)

    def _mask_loss(self, features: Features, batch: DetectionBatch) -> Tensor:
        """Over true boxes, jittered; masks are cropped to the same boxes."""
        assert batch.targets is not None and batch.masks is not None, "a training batch carries targets and masks"
        config = self.loss.masks
        true, seeds = batch.targets.boxes, batch.targets.seeds
        images, places = drawn(batch.targets.box_mask, config.max_instances, seeds, MASKS)
        luck = uniform(seeds, true[0].numel(), JITTER, len(true), true.device).view_as(true)[images, places]
        boxes = jittered(true[images, places], config.jitter, batch.images.image_sizes[images], luck)
        logits = self.masks(
            features, batch.images.pixels, MaskRegions(boxes, images, batch.targets.positive_map[images, places])
        )
        wanted = [
            crop_masks(masks[places[images == row]], boxes[images == row], self.masks.size)
            for row, masks in enumerate(batch.masks)
        ]
        return mask_loss(logits, torch.cat(wanted), config)

    def predictions(self, batch: DetectionBatch) -> list[Segments]:
        """Objects in original pixels, over `vocabulary`. No image's result depends on its neighbours."""
        assert self.vocabulary is not None, "set task.vocabulary (or call reset_metric) before predicting"
        found = image_by_image(batch, self.model_config.pixels.size_divisor, self._found)
        detections = in_original([one.boxes for one in found], batch, self.vocabulary, self.regions.config.boxes)
        return [Segments(own, one.cells) for own, one in zip(detections, found, strict=True)]

    def request(self, text: str) -> Vocabulary:
        """Names or phrases separated by full stops."""
        return Vocabulary(names_in_text(text))

    def batch_for(self, images: ImageBatch, truth: tuple[ImageTruth, ...], request: Vocabulary) -> DetectionBatch:
        """Every name of the request for every image."""
        self.vocabulary = request
        return DetectionBatch(images, self._prompts(request, len(images)), None, truth)

    def _found(self, images: ImageBatch, prompts: Sequence[PromptBatch]) -> list[FoundObjects]:
        """In the model-input frame; each mask is read from the features that its name's prompt made."""
        levels = self.core.image(images.pixels)
        fused = list(self.core.fuse_each(levels, [prompt.text for prompt in prompts]))
        selection = self.config.selection
        candidates = (
            self.grounding.candidates_in(features, prompt, images.image_sizes, selection)
            for features, prompt in zip(fused, prompts, strict=True)
        )
        kept = self.grounding.kept(candidates, selection)
        counts = [len(boxes.labels) for boxes in kept]
        cells = levels[0].new_zeros(sum(counts), self.masks.size, self.masks.size, dtype=torch.float32)
        for features, prompt in zip(fused, prompts, strict=True):
            own, regions = regions_of(kept, prompt)
            cells[own] = self.masks.probabilities(features, images.pixels, regions)
        return [FoundObjects(*pair) for pair in zip(kept, cells.split(counts), strict=True)]

    def reset_metric(self, samples: SampleDataset) -> None:
        """Fresh mask and box AP over the data set's scored names."""
        self.vocabulary = samples.vocabulary
        self.mask_metric = CocoMaskAP(samples.vocabulary, samples.scored_names)
        self.box_metric = CocoBoxAP(samples.vocabulary, samples.scored_names)

    def update_metric(self, predictions: Sequence[Segments], batch: DetectionBatch) -> None:
        """Counts one batch."""
        assert self.mask_metric is not None and self.box_metric is not None, "call reset_metric first"
        found = [one.to("cpu") for one in predictions]
        truth = [one.to("cpu") for one in batch.truth]
        boxes = [one.detections for one in found]
        objects = [[] if one.masks is None else run_lengths(one.masks) for one in truth]
        self.mask_metric.update(boxes, truth, [one.run_lengths() for one in found], objects)
        self.box_metric.update(boxes, truth)

    def compute_metric(self) -> Scores:
        """The twelve COCO numbers of masks and of boxes, and AP by name."""
        assert self.mask_metric is not None and self.box_metric is not None, "call reset_metric first"
        return SegmentationScores(self.mask_metric.compute(), self.box_metric.compute())

    def diagnosis(self) -> Mapping[str, Any] | None:
        """Kinds of errors, confusions, precision by recall, by the overlap of masks."""
        if self.mask_metric is None:
            return None
        rows = distinct_rows(self.mask_metric.joined_table())
        return detection_errors(*rows, self.mask_metric.vocabulary.names).to_dict()


def regions_of(kept: Sequence[ScoredBoxes], prompt: PromptBatch) -> tuple[Tensor, MaskRegions]:
    """Those of the images' boxes whose names stand in a prompt: their places in all boxes one after the other,
    and the boxes with their names' tokens.
    """
    device = prompt.phrase_labels.device
    labels = torch.cat([boxes.labels for boxes in kept])
    images = torch.arange(len(kept), device=device).repeat_interleave(
        torch.tensor([len(boxes.labels) for boxes in kept], device=device)
    )
    own, phrases = (labels[:, None] == prompt.phrase_labels[images]).nonzero(as_tuple=True)
    boxes = torch.cat([boxes.boxes for boxes in kept])[own]
    return own, MaskRegions(boxes, images[own], prompt.phrase_map[images[own], phrases])
