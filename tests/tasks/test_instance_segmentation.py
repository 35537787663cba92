"""Claims about instance segmentation: masks belong to their boxes and phrases, learn, and are scored as they should."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from segmenters import NAMES, blank, collator, examples_of, finding_segmenter, task_of
from torch.testing import assert_close

from glipv2.data.collate import EvaluationCollator
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.data.transforms import Example, truth_of
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


@pytest.fixture
def segmenter(model_config: ModelConfig) -> InstanceSegmentationTask:
    """An untrained segmenter that finds much."""
    return finding_segmenter(model_config)


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
