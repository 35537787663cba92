"""Claims about the scores of instance segmentation, and that it learns to reach them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from segmenters import collator, examples_of, finding_segmenter, task_of

from glipv2.data.shapes import ShapesDataset
from glipv2.data.transforms import truth_of
from glipv2.losses.glipv2 import LossConfig
from glipv2.losses.masks import MaskLossConfig
from glipv2.models import ModelConfig
from glipv2.optim import OptimConfig
from glipv2.structures import (
    DetectionBatch,
    Detections,
    ImageTruth,
    Instances,
    Sample,
    Segments,
    Vocabulary,
)
from glipv2.structures.masks import crop_masks
from glipv2.tasks.instance_segmentation import InstanceSegmentationTask


@pytest.fixture
def segmenter(model_config: ModelConfig) -> InstanceSegmentationTask:
    """An untrained segmenter that finds much."""
    return finding_segmenter(model_config)


def perfect(truth: ImageTruth, vocabulary: Vocabulary, tight: bool) -> Segments:
    """The truth as if it had been found: in boxes with 28 × 28 cells, or with a cell for every pixel."""
    assert truth.masks is not None
    height, width = truth.image_size
    boxes = truth.boxes if tight else torch.tensor([[0.0, 0, width, height]]).expand(len(truth.labels), -1)
    cells = crop_masks(truth.masks, truth.boxes, 28) if tight else truth.masks.float()
    detections = Detections(boxes, torch.ones(len(truth.labels)), truth.labels, truth.image_size, vocabulary)
    return Segments(detections, cells)


def scores_of(task: InstanceSegmentationTask, found: list[Segments], truth: list[ImageTruth]) -> dict[str, float]:
    task.update_metric(found, DetectionBatch(None, (), None, tuple(truth)))  # type: ignore[arg-type]
    return task.compute_metric().flat("instance_segmentation")


def test_ground_truth_as_predictions_scores_one(segmenter: InstanceSegmentationTask) -> None:
    samples = ShapesDataset("val", 30, image_size=96, with_language=False)
    truth = [truth_of(samples[index]) for index in range(30)]
    segmenter.reset_metric(samples)
    exact = scores_of(segmenter, [perfect(one, samples.vocabulary, tight=False) for one in truth], truth)
    assert exact[segmenter.config.monitor] == pytest.approx(1)
    assert exact["instance_segmentation/mask_ar_100"] == pytest.approx(1)
    assert exact["instance_segmentation/box_ap"] < 0.5  # the boxes were those of the whole image
    segmenter.reset_metric(samples)
    tight = scores_of(segmenter, [perfect(one, samples.vocabulary, tight=True) for one in truth], truth)
    assert tight["instance_segmentation/box_ap"] == pytest.approx(1)
    assert tight["instance_segmentation/mask_ap"] > 0.99  # 28 × 28 cells lose next to nothing
    names = {samples.vocabulary.names[label] for one in truth for label in one.labels.tolist()}
    assert all(tight[f"instance_segmentation/mask_ap/{name}"] > 0.9 for name in names if name in samples.scored_names)


def test_a_wrong_half_of_the_box_is_told_by_the_mask_score_alone(segmenter: InstanceSegmentationTask) -> None:
    samples = ShapesDataset("val", 10, image_size=96, with_language=False)
    truth = [truth_of(samples[index]) for index in range(10)]
    found = [perfect(one, samples.vocabulary, tight=True) for one in truth]
    halves = [replace(one, cells=torch.cat([one.cells[..., :14], one.cells[..., 14:] * 0], dim=2)) for one in found]
    segmenter.reset_metric(samples)
    scores = scores_of(segmenter, halves, truth)
    assert scores["instance_segmentation/box_ap"] == pytest.approx(1)
    assert scores["instance_segmentation/mask_ap"] < 0.2


def test_images_without_objects_are_scored(segmenter: InstanceSegmentationTask) -> None:
    samples = ShapesDataset("val", 2, image_size=96, with_language=False)
    segmenter.reset_metric(samples)
    truth = [truth_of(samples[0]), truth_of(Sample(samples[1].image, 99, "empty", Instances.empty()))]
    found = [perfect(truth[0], samples.vocabulary, tight=False)]
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), (96, 96), samples.vocabulary)
    found.append(Segments(nothing, torch.zeros(0, 28, 28)))
    assert scores_of(segmenter, found, truth)[segmenter.config.monitor] == pytest.approx(1)


@pytest.mark.slow
def test_one_batch_can_be_learnt_by_heart(preset: Callable[[str], ModelConfig]) -> None:
    model = preset("nano")
    model = replace(model, pixels=replace(model.pixels, short_side=64))
    task = task_of(model, replace(LossConfig.grounding_only(), masks=MaskLossConfig(jitter=0.0)))
    batch = collator(model, max_names=8)(examples_of(model, 3))
    optimizer, _ = OptimConfig(lr=1e-3, text_lr_factor=1.0, warmup_steps=0, schedule="constant").build(task, 300)
    for _ in range(300):
        report = task.losses(batch)
        optimizer.zero_grad()
        report.total.backward()
        optimizer.step()
        if report.terms["alignment"] < 0.02 and report.terms["box"] < 0.2 and report.terms["masks"] < 0.05:
            break
    assert report.terms["masks"].item() < 0.1
    samples = ShapesDataset("train", 3, image_size=64, with_language=False)
    task.reset_metric(samples)
    with torch.no_grad():  # in training mode still: norms of one batch know that batch
        found = task.predictions(replace(batch, targets=None))
    truth = [truth_of(samples[index]) for index in range(3)]
    scores = scores_of(task, [one.to("cpu") for one in found], truth)
    assert scores["instance_segmentation/mask_ap_50"] > 0.9
