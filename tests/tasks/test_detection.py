"""Claims about the detection task: it can learn, and its scores mean what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from glipv2.data.collate import EvaluationCollator, TrainingCollator
from glipv2.data.prompts import PromptComposer, PromptConfig, collate_rows
from glipv2.data.shapes import HELD_OUT, SEEN, ShapesDataset
from glipv2.data.sources import ShapesData
from glipv2.data.transforms import ExampleDataset, truth_of
from glipv2.evaluate import open_data
from glipv2.losses.contrast import ContrastConfig
from glipv2.losses.glipv2 import LossConfig
from glipv2.losses.grounding import grounding_loss
from glipv2.models import ModelConfig
from glipv2.models.heads.selection import ScoredBoxes
from glipv2.optim import OptimConfig
from glipv2.structures import DetectionBatch, Detections, ImageTruth, RegionTargets, Vocabulary
from glipv2.tasks.base import LossReport
from glipv2.tasks.detection import DetectionConfig, DetectionTask
from glipv2.tasks.grounding import in_original

IMAGES = 3
SIZES = ((64, 64), (40, 64), (64, 33))  # what is kept of three images, (height, width)


def perfect(truth: ImageTruth, vocabulary: Vocabulary) -> Detections:
    """The ground truth as if it had been found."""
    return Detections(truth.boxes, torch.ones(len(truth.labels)), truth.labels, truth.image_size, vocabulary)


@pytest.mark.parametrize(("split", "names"), [("val", SEEN), ("unseen", HELD_OUT)])
def test_ground_truth_as_predictions_scores_one(task: DetectionTask, split: str, names: tuple[str, ...]) -> None:
    samples = ShapesDataset(split, 40, image_size=96, with_language=False)
    task.reset_metric(samples)
    batch = DetectionBatch(None, (), None, tuple(truth_of(samples[i]) for i in range(40)))  # type: ignore[arg-type]
    task.update_metric([perfect(truth, samples.vocabulary) for truth in batch.truth], batch)
    scores = task.compute_metric().flat("detection")
    assert scores["detection/box_ap"] == pytest.approx(1)
    assert scores["detection/box_ar_100"] == pytest.approx(1)
    present = {samples.vocabulary.names[label] for truth in batch.truth for label in truth.labels.tolist()}
    for name in names:
        assert scores[f"detection/box_ap/{name}"] == pytest.approx(1 if name in present else -1)


def test_wrong_names_on_right_boxes_score_nothing(task: DetectionTask) -> None:
    samples = ShapesDataset("val", 20, image_size=96, with_language=False)
    truths = tuple(truth_of(samples[index]) for index in range(20))
    task.reset_metric(samples)
    batch = DetectionBatch(None, (), None, truths)  # type: ignore[arg-type]
    shifted = [replace(truth, labels=(truth.labels + 1) % len(samples.vocabulary)) for truth in truths]
    task.update_metric([perfect(truth, samples.vocabulary) for truth in shifted], batch)
    assert task.compute_metric().flat("detection")["detection/box_ap"] < 0.05


def test_a_reset_forgets_and_takes_the_new_names(task: DetectionTask) -> None:
    val, unseen = (ShapesDataset(split, 4, image_size=96, with_language=False) for split in ("val", "unseen"))
    task.reset_metric(val)
    task.reset_metric(unseen)
    truths = tuple(truth_of(unseen[index]) for index in range(4))
    batch = DetectionBatch(None, (), None, truths)  # type: ignore[arg-type]
    task.update_metric([perfect(truth, unseen.vocabulary) for truth in truths], batch)
    scores = task.compute_metric().flat("detection")
    assert {name.split("/")[2] for name in scores if name.count("/") == 2} == set(HELD_OUT)
    assert scores["detection/box_ap"] == pytest.approx(1)


def test_the_total_is_the_sum_of_the_terms_alone() -> None:
    terms = {"a": torch.tensor(1.5, requires_grad=True), "b": torch.tensor(2.0)}
    report = LossReport(terms, {"matched_regions": torch.tensor(100.0)})
    assert report.total.item() == 3.5
    assert report.total.requires_grad


@pytest.mark.parametrize("fused", [False, True])
def test_the_contrast_reaches_the_fusion_only_where_it_takes_fused_features(
    model_config: ModelConfig, fused: bool
) -> None:
    task = DetectionConfig().build(model_config, LossConfig(contrast=ContrastConfig(fused=fused)))
    data = ShapesData(image_size=64, train_scenes=4, eval_scenes=4, batch_size=2, workers=0)
    opened = open_data(task.config, model_config, data, train=True, split="val")
    task.losses(next(iter(opened.first_batches(1)))).terms["contrast"].backward()
    reached = [parameter.grad is not None for parameter in task.core.fusion.parameters()]
    assert any(reached) == fused
    assert all(parameter.grad is not None for parameter in task.contrast.parameters())


def test_collators_follow_the_split(model_config: ModelConfig) -> None:
    """Held-out names are never taught and always asked for."""
    data = ShapesData(image_size=64, train_scenes=8, eval_scenes=4)
    config = DetectionConfig()
    train = config.collator(model_config, data, data.dataset("train"), True)
    evaluation = config.collator(model_config, data, data.dataset("val"), False)
    assert isinstance(train, TrainingCollator)
    assert isinstance(evaluation, EvaluationCollator)
    names = data.dataset("val").vocabulary.names
    asked = {names[label] for prompt in evaluation.prompts for label in prompt.phrase_labels[0].tolist()}
    assert asked == set(names)
    examples = ExampleDataset(data.dataset("train"), model_config.pixels, None)
    batch = train([examples[index] for index in range(8)])
    taught = {names[label] for label in batch.prompts[0].phrase_labels.flatten().tolist() if label >= 0}
    assert taught <= set(SEEN)
    assert taught


@pytest.mark.slow
def test_one_batch_can_be_learnt_by_heart(preset: Callable[[str], ModelConfig]) -> None:
    torch.manual_seed(0)
    samples = ShapesDataset("train", IMAGES, image_size=64, with_language=False)
    model = preset("nano")
    model = replace(model, pixels=replace(model.pixels, short_side=64))
    task = DetectionConfig().build(model, LossConfig.grounding_only())
    composer = PromptComposer(samples.vocabulary, model.tokenizer.build(), PromptConfig(max_names=8))
    examples = [ExampleDataset(samples, model.pixels, None)[index] for index in range(IMAGES)]
    batch = TrainingCollator(model.pixels, composer)(examples)
    optimizer, _ = OptimConfig(lr=1e-3, text_lr_factor=1.0, warmup_steps=0, schedule="constant").build(task, 300)
    first = task.losses(batch)
    for _ in range(300):
        report = task.losses(batch)
        optimizer.zero_grad()
        report.total.backward()
        optimizer.step()
        if report.terms["alignment"] < 0.02 and report.terms["box"] < 0.2:
            break
    assert first.terms["alignment"].item() > 0.3
    assert report.terms["alignment"].item() < 0.05
    task.reset_metric(samples)
    with torch.no_grad():  # in training mode still: norms of one batch know that batch
        task.update_metric(task.predictions(replace(batch, targets=None)), batch)
    assert task.compute_metric().flat("detection")["detection/box_ap_50"] > 0.9


def test_weights_that_name_last_pixels_are_taught_and_scored_as_the_released_code_does(
    model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Targets end at x + width - 1 in the image's own pixels; the same boxes, found, are COCO's again."""
    samples = ShapesDataset("val", 2, image_size=64, with_language=False)
    pixels = replace(model_config.pixels, short_side=96)
    regions = replace(model_config.regions, inclusive_boxes=True, last_pixels=True)
    task = DetectionConfig().build(replace(model_config, pixels=pixels, regions=regions), LossConfig.grounding_only())
    composer = PromptComposer(samples.vocabulary, model_config.tokenizer.build(), PromptConfig())
    batch = TrainingCollator(pixels, composer)([ExampleDataset(samples, pixels, None)[index] for index in range(2)])
    seen: list[torch.Tensor] = []

    def looking(outputs: object, targets: RegionTargets, *rest: object) -> object:
        seen.append(targets.boxes[targets.box_mask])
        return grounding_loss(outputs, targets, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("glipv2.tasks.grounding.grounding_loss", looking)
    task.losses(batch)
    own = torch.cat([truth.boxes[~truth.is_crowd] for truth in batch.truth])
    torch.testing.assert_close(seen[0], (own - own.new_tensor([0, 0, 1, 1])) * 1.5)
    counts = [len(truth.boxes) for truth in batch.truth]
    found = [
        ScoredBoxes(boxes, torch.ones(len(boxes)), torch.zeros(len(boxes), dtype=torch.int64))
        for boxes in seen[0].split(counts)
    ]
    for own_found, truth in zip(in_original(found, batch, samples.vocabulary, regions.boxes), batch.truth, strict=True):
        torch.testing.assert_close(own_found.boxes, truth.boxes)


def test_an_evaluation_batch_of_different_prompts_finds_what_its_single_images_find(task: DetectionTask) -> None:
    """Other names, other words around them, another number of prompts for each image."""
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    task.vocabulary = vocabulary = Vocabulary(("red circle", "blue square", "green star"))
    tokenizer, pixels = task.model_config.tokenizer.build(), task.model_config.pixels
    configs = [
        PromptConfig(),
        PromptConfig(eval_names=1, separator=", "),
        PromptConfig(captions={"green star": {"suffix": ", a big one", "name": "star"}}),
    ]
    prompts = [PromptComposer(vocabulary, tokenizer, config).all_names() for config in configs]
    samples = ShapesDataset("val", 3, image_size=96, with_language=False)
    examples = [ExampleDataset(samples, pixels, None)[index] for index in range(3)]
    truths = [replace(example.truth, image_size=size) for example, size in zip(examples, SIZES, strict=True)]
    images = [example.image[:, :height, :width] for example, (height, width) in zip(examples, SIZES, strict=True)]

    def found(rows: list[int]) -> list[Detections]:
        batch = DetectionBatch(
            images=pixels.batch([images[row] for row in rows]),
            prompts=collate_rows([prompts[row] for row in rows], tokenizer),
            targets=None,
            truth=tuple(truths[row] for row in rows),
        )
        with torch.inference_mode():
            return task.predictions(batch)

    for row, together in enumerate(found([0, 1, 2])):
        (alone,) = found([row])
        assert len(alone) == len(together) > 0
        assert alone.names == together.names
        torch.testing.assert_close(together.boxes, alone.boxes, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(together.scores, alone.scores, atol=1e-5, rtol=1e-4)
