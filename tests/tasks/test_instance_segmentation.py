"""Claims about instance segmentation: masks belong to their boxes and phrases, learn, and are scored as they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from glipv2.data.collate import EvaluationCollator, TrainingCollator
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.data.shapes import ShapesDataset
from glipv2.data.transforms import Example, ExampleDataset, truth_of
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.losses.contrast import ContrastConfig
from glipv2.losses.glipv2 import LossConfig
from glipv2.losses.masks import MaskLossConfig
from glipv2.losses.words import MaskedWordsConfig
from glipv2.models import ModelConfig
from glipv2.models.heads.masks import MaskRegions
from glipv2.models.heads.selection import ScoredBoxes
from glipv2.optim import OptimConfig
from glipv2.structures import (
    DetectionBatch,
    Detections,
    ImageTruth,
    Instances,
    PromptBatch,
    Sample,
    Segments,
    TextBatch,
    Vocabulary,
)
from glipv2.structures.masks import crop_masks
from glipv2.tasks import instance_segmentation
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.instance_segmentation import InstanceSegmentationConfig, InstanceSegmentationTask, regions_of
from glipv2.tasks.joint import JointConfig

NAMES = ["red circle", "blue square", "green star"]


def task_of(model: ModelConfig, loss: LossConfig | None = None, **options: str) -> InstanceSegmentationTask:
    """A seeded task in training mode."""
    torch.manual_seed(0)
    task = InstanceSegmentationConfig(**options).build(model, loss or LossConfig.grounding_only())
    assert isinstance(task, InstanceSegmentationTask)
    return task


@pytest.fixture
def segmenter(model_config: ModelConfig) -> InstanceSegmentationTask:
    """An untrained segmenter that finds much."""
    task = task_of(model_config).eval()
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    task.vocabulary = Vocabulary(tuple(NAMES))
    return task


def examples_of(model: ModelConfig, count: int, size: int = 64) -> list[Example]:
    samples = ShapesDataset("train", count, image_size=size, with_language=False)
    data = ExampleDataset(samples, model.pixels, None)
    return [data[index] for index in range(count)]


def blank(model: ModelConfig, count: int) -> list[Example]:
    """Pictures on which there is nothing."""
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    samples = [Sample(image, index, "blank", Instances.empty()) for index in range(count)]
    return [Example(image, sample.instances, truth_of(sample), sample) for sample in samples]


def collator(model: ModelConfig, **prompts: float) -> TrainingCollator:
    composer = PromptComposer(
        ShapesDataset("train", 1, with_language=False).vocabulary, model.tokenizer.build(), PromptConfig(**prompts)
    )
    return TrainingCollator(model.pixels, composer, with_masks=True)


def same(first: Segments, second: Segments) -> None:
    assert first.names == second.names
    assert len(first) > 0
    assert_close(first.boxes, second.boxes, atol=1e-3, rtol=1e-4)
    assert_close(first.cells, second.cells, atol=1e-4, rtol=1e-4)


# Batches


def test_every_target_has_its_own_mask_in_its_own_frame(model_config: ModelConfig) -> None:
    larger = replace(model_config, pixels=replace(model_config.pixels, short_side=96))
    batch = collator(larger, leave_out=0.4)([*examples_of(larger, 8), *blank(larger, 1)])
    assert batch.targets is not None
    assert batch.masks is not None
    assert len(batch.masks) == 9
    assert sum(map(len, batch.masks)) < sum(len(truth.labels) for truth in batch.truth)  # some names were left out
    for boxes, mask, masks in zip(batch.targets.boxes, batch.targets.box_mask, batch.masks, strict=True):
        assert len(masks) == int(mask.sum())
        for box, own in zip(boxes[mask], masks, strict=True):
            rows, columns = own.nonzero(as_tuple=True)
            tight = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert_close(box, tight.float(), atol=1.5, rtol=0)  # resizing rounds
    assert all(truth.masks is None for truth in batch.truth)  # nobody asks for them in training
    assert batch.to("meta").masks[0].device.type == "meta"  # type: ignore[index]


def test_evaluation_keeps_the_masks_of_the_truth(model_config: ModelConfig) -> None:
    composer = collator(model_config).composer
    batch = EvaluationCollator(model_config.pixels, composer)(examples_of(model_config, 2))
    assert all(truth.masks is not None and truth.masks.shape[1:] == (64, 64) for truth in batch.truth)
    assert batch.masks is None


# Training


def test_the_mask_term_joins_those_of_grounding(model_config: ModelConfig) -> None:
    batch = collator(model_config)(examples_of(model_config, 3))
    report = task_of(model_config).losses(batch)
    assert set(report.terms) == {"alignment", "box", "centerness", "masks"}
    assert 0.3 < report.terms["masks"].item() < 1.5
    report.total.backward()
    half = replace(LossConfig.grounding_only(), masks=MaskLossConfig(weight=0.5, jitter=0))
    full = replace(half, masks=MaskLossConfig(weight=1, jitter=0))
    halved, whole = (task_of(model_config, loss).losses(batch).terms["masks"] for loss in (half, full))
    assert_close(halved * 2, whole)


def test_masks_are_cropped_to_the_very_boxes_that_are_read(
    model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes that jitter has moved to the right half of their objects; some images have no object."""
    examples = [*examples_of(model_config, 2), *blank(model_config, 1), *examples_of(model_config, 4)[2:]]
    batch = collator(model_config)(examples)
    assert batch.targets is not None
    assert batch.masks is not None
    read: list[MaskRegions] = []
    taught: list[torch.Tensor] = []

    def right_half(boxes: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.cat([boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) / 2, boxes[:, 1:]], dim=1)

    def kept(logits: torch.Tensor, targets: torch.Tensor, config: MaskLossConfig) -> torch.Tensor:
        taught.append(targets)
        return logits.sum()

    monkeypatch.setattr(instance_segmentation, "jittered", right_half)
    monkeypatch.setattr(instance_segmentation, "mask_loss", kept)
    task = task_of(model_config)
    task.masks.register_forward_hook(lambda module, inputs, output: read.append(inputs[2]))
    task.losses(batch)
    images, places = read[0].images.tolist(), []
    for row, (image, box) in enumerate(zip(images, read[0].boxes, strict=True)):
        wanted = right_half(batch.targets.boxes[image])
        place = int((wanted - box).abs().sum(dim=1).argmin())
        assert torch.equal(wanted[place], box)
        assert torch.equal(read[0].tokens[row], batch.targets.positive_map[image, place])
        assert_close(taught[0][row], crop_masks(batch.masks[image][place : place + 1], box[None], 28)[0])
        places.append((image, place))
    assert len(set(places)) == len(places) == int(batch.targets.box_mask.sum())


def test_images_without_objects_train(model_config: ModelConfig) -> None:
    task = task_of(model_config)
    report = task.losses(collator(model_config)(blank(model_config, 3)))
    assert report.terms["masks"].item() == 0
    report.total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in task.parameters() if parameter.grad is not None)
    mixed = task.losses(collator(model_config)([*blank(model_config, 1), *examples_of(model_config, 2)]))
    assert mixed.terms["masks"].item() > 0


def test_no_more_instances_are_taught_than_asked_for(model_config: ModelConfig) -> None:
    task = task_of(model_config, replace(LossConfig.grounding_only(), masks=MaskLossConfig(max_instances=1)))
    batch = collator(model_config, max_names=56)(examples_of(model_config, 4))
    seen: list[int] = []
    task.masks.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    task.losses(batch)
    assert seen == [4]
    assert max(len(masks) for masks in batch.masks or ()) > 1


def test_mask_head_only_changes_nothing_else(model_config: ModelConfig) -> None:
    loss = LossConfig(contrast=ContrastConfig(), words=MaskedWordsConfig())
    task = task_of(model_config, loss, train="mask_head_only")
    before = {name: value.clone() for name, value in task.state_dict().items()}
    optimizer, _ = OptimConfig(lr=1e-2, warmup_steps=0).build(task, 10)
    batch = collator(model_config)(examples_of(model_config, 3))
    for _ in range(2):
        report = task.losses(batch)
        assert set(report.terms) == {"masks"}
        report.total.backward()
        optimizer.step()
    changed = {name for name, value in task.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name, _ in task.named_parameters() if name.startswith("masks.")}
    assert [module.training for module in (task.masks, task.core, task.regions)] == [True, False, False]


def test_training_everything_changes_everything(model_config: ModelConfig) -> None:
    task = task_of(model_config)
    task.losses(collator(model_config)(examples_of(model_config, 3))).total.backward()
    assert all(parameter.grad is not None for parameter in task.masks.parameters())
    alone = task_of(model_config)
    batch = collator(model_config)(examples_of(model_config, 3))
    alone.losses(batch).terms["masks"].backward()  # reaches image and text through the fused features
    assert alone.core.image.pyramid.output[0].weight.grad.abs().max() > 0  # type: ignore[union-attr]
    assert alone.core.fusion.layers[0].text.query.weight.grad.abs().max() > 0


def test_ways_to_train_that_can_not_work_are_refused() -> None:
    unknown = InstanceSegmentationConfig(train="mask_head")
    for config in (unknown, JointConfig(weights={"instance_segmentation": 1.0}, instance_segmentation=unknown)):
        with pytest.raises(UserError, match=r"task\.train: no way 'mask_head'; did you mean 'mask_head_only'"):
            config.check(started=True)
    second_stage = InstanceSegmentationConfig(train="mask_head_only")
    with pytest.raises(UserError, match="give weights that detect, as in weights=RUN"):
        second_stage.check(started=False)
    second_stage.check(started=True)
    JointConfig(weights={"instance_segmentation": 1.0}, instance_segmentation=second_stage).check(started=False)


def test_it_trains_jointly_with_detection(model_config: ModelConfig) -> None:
    part = InstanceSegmentationConfig(train="mask_head_only")
    config = JointConfig(weights={"detection": 1.0, "instance_segmentation": 1.0}, instance_segmentation=part)
    joint = config.build(model_config, LossConfig.grounding_only())
    detection, segmentation = joint.subtasks().values()
    assert detection.core is segmentation.core
    assert all(parameter.requires_grad for parameter in joint.parameters())  # detection still trains the core
    segmentation.losses(collator(model_config)(examples_of(model_config, 2))).total.backward()
    assert all(parameter.grad is None for parameter in detection.parameters())


# Predictions


def test_neither_neighbours_nor_padding_change_a_mask(segmenter: InstanceSegmentationTask) -> None:
    torch.manual_seed(1)
    predictor = Predictor(segmenter, "cpu")
    pictures = [
        torch.randint(256, (3, *size), dtype=torch.uint8) for size in ((64, 64), (100, 70), (64, 128), (50, 90))
    ]
    together = predictor.segment(pictures, NAMES)
    for picture, found in zip(pictures, together, strict=True):
        same(predictor.segment(picture, NAMES), found)
        assert found.masks().shape == (len(found), *picture.shape[1:])


def test_masks_stand_in_their_boxes(segmenter: InstanceSegmentationTask) -> None:
    found = Predictor(segmenter, "cpu").segment(torch.randint(256, (3, 64, 80), dtype=torch.uint8), NAMES)
    for box, mask in zip(found.boxes.tolist(), found.masks(threshold=0.01), strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        if len(rows):
            assert columns.min() + 0.5 >= box[0]
            assert rows.min() + 0.5 >= box[1]
            assert columns.max() + 0.5 < box[2]
            assert rows.max() + 0.5 < box[3]


def test_each_mask_is_read_from_its_own_names_prompt(segmenter: InstanceSegmentationTask) -> None:
    """Names in prompts of their own give what each name gives when it alone is asked for."""
    picture = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    examples = [Example(picture, Instances.empty(), truth, Sample(picture, 0, "", Instances.empty())) for truth in [
        truth_of(Sample(picture, 0, "", Instances.empty()))
    ]]  # fmt: skip
    vocabulary = Vocabulary(tuple(NAMES))
    composer = PromptComposer(vocabulary, segmenter.model_config.tokenizer.build(), PromptConfig(eval_names=1))
    segmenter.vocabulary = vocabulary
    with torch.inference_mode():
        found = segmenter.predictions(EvaluationCollator(segmenter.model_config.pixels, composer)(examples))[0]
    for name in NAMES:
        alone = Predictor(segmenter, "cpu").segment(picture, [name])
        own = torch.tensor([other == name for other in found.names])
        count = min(int(own.sum()), len(alone))  # of all names together the best hundred stay
        assert count > 0
        assert_close(found.boxes[own][:count], alone.boxes[:count], atol=1e-3, rtol=1e-4)
        assert_close(found.cells[own][:count], alone.cells[:count], atol=1e-4, rtol=1e-4)


def test_boxes_find_the_tokens_of_their_names_in_the_prompt_of_their_image() -> None:
    """Two images, whose prompts hold labels 5 and 7 in another order; label 9 stands in another prompt."""
    tokens = torch.eye(4, dtype=torch.bool)
    text = TextBatch(torch.zeros(2, 4, dtype=torch.int64), torch.ones(2, 4, dtype=torch.bool))
    prompt = PromptBatch(text, torch.stack([tokens[:2], tokens[2:]]), torch.tensor([[5, 7], [7, 5]]))
    labels = [torch.tensor([7, 9, 5]), torch.tensor([5, 9])]
    boxes = torch.arange(20.0).reshape(5, 4)
    kept = [ScoredBoxes(boxes[:3], torch.ones(3), labels[0]), ScoredBoxes(boxes[3:], torch.ones(2), labels[1])]
    own, regions = regions_of(kept, prompt)
    assert own.tolist() == [0, 2, 3]
    assert regions.images.tolist() == [0, 0, 1]
    assert torch.equal(regions.boxes, boxes[own])
    assert torch.equal(regions.tokens, tokens[[1, 0, 3]])


def test_a_phrase_is_a_name_and_another_phrase_gives_other_masks(segmenter: InstanceSegmentationTask) -> None:
    with torch.no_grad():  # every box sits on its anchor, whatever is asked
        segmenter.regions.box_deltas.weight.zero_()
        segmenter.regions.box_deltas.bias.zero_()  # type: ignore[union-attr]
    picture = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    predictor = Predictor(segmenter, "cpu")
    first, second = (
        predictor.segment(picture, [phrase])
        for phrase in ("the large red circle above the blue square", "the small green star on the left")
    )
    shared = [
        (i, j) for i, box in enumerate(first.boxes.tolist()) for j, other in enumerate(second.boxes.tolist())
        if box == other
    ]  # fmt: skip
    assert len(shared) > 3
    differences = [float((first.cells[i] - second.cells[j]).abs().max()) for i, j in shared]
    assert min(differences) > 1e-4


def test_weights_that_never_segmented_say_so(model_config: ModelConfig) -> None:
    detector = DetectionConfig().build(model_config, LossConfig.grounding_only())
    with pytest.raises(UserError, match=r"trained for detection can't do instance_segmentation: .* no 'masks' part"):
        Predictor(detector, "cpu").segment(torch.zeros(3, 64, 64, dtype=torch.uint8), NAMES)


def test_weights_that_segment_also_detect(segmenter: InstanceSegmentationTask) -> None:
    picture = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    predictor = Predictor(segmenter, "cpu")
    assert_close(predictor.detect(picture, NAMES).boxes, predictor.segment(picture, NAMES).boxes)


# Scores


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
