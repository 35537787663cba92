"""Claims about what is chosen for data, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from glipv2.checking.counts import SplitCounts
from glipv2.checking.runner import CheckReport
from glipv2.data.sources import AutoData
from glipv2.errors import UserError
from glipv2.finetuning.facts import DataFacts, Masks
from glipv2.finetuning.fitting import StepCost, fitting_batch, step_cost
from glipv2.finetuning.recipes import chosen_length, chosen_task, chosen_tune, wanted_batch
from glipv2.tasks.base import LossReport

GIB = 2**30


def facts(masks: Masks = Masks(), **counts: int) -> DataFacts:  # noqa: B008 (frozen)
    train = SplitCounts.of("train", "a.json", "COCO instances", ["dog"], True)
    for name, value in {"images": 10, **counts}.items():
        setattr(train, name, value)
    return DataFacts(AutoData(holdout=0.2), "COCO instances", "", train, None, masks, ("dog",), CheckReport())


@pytest.mark.parametrize(
    ("given", "task"),
    [
        (facts(boxes=5), "detection"),
        (facts(Masks(5), boxes=5), "instance_segmentation"),
        (facts(Masks(4), boxes=5), "detection"),
        (facts(Masks(5, are_rectangles=True), boxes=5), "detection"),
        (facts(boxes=5, captions=3), "phrase_grounding"),
        (facts(captions=3), "captioning"),
        (facts(questions=3), "vqa"),
    ],
)
def test_the_task_follows_from_what_is_annotated(given: DataFacts, task: str) -> None:
    assert chosen_task(given).value == task


def test_data_without_annotations_is_refused() -> None:
    with pytest.raises(UserError, match="nothing is annotated"):
        chosen_task(facts())


@pytest.mark.parametrize(
    ("images", "new_heads", "one_prompt", "task", "tune"),
    [
        (29, False, True, "detection", "prompt"),
        (30, False, True, "detection", "lora"),
        (999, False, True, "detection", "lora"),
        (1000, False, True, "detection", "full"),
        (10, True, True, "detection", "lora"),
        (10, False, False, "detection", "lora"),
        (10, False, True, "captioning", "lora"),
    ],
)
def test_the_way_of_tuning_follows_from_the_number_of_images(
    images: int, new_heads: bool, one_prompt: bool, task: str, tune: str
) -> None:
    assert chosen_tune(images, new_heads, one_prompt, task).value == tune


def test_a_step_sees_eight_images_and_training_passes_over_all_of_them_forty_times() -> None:
    length = chosen_length(80, "lora", batch=8)
    assert (length.batch, length.accumulate, length.steps, length.every) == (8, 1, 400, 50)
    small = chosen_length(80, "lora", batch=2)
    assert (small.accumulate, small.steps) == (4, 400)
    assert chosen_length(4, "prompt", batch=2).steps == 100
    assert chosen_length(10**6, "full", batch=16).steps == 5000
    assert (
        chosen_length(80, "lora", batch=8, steps=20).every == 5
    )  # a short try is not validated for longer than trained
    assert (wanted_batch(3), wanted_batch(100), wanted_batch(1000)) == (3, 8, 16)


def test_the_batch_is_the_largest_power_of_two_that_fits() -> None:
    cost = StepCost(GIB, 2 * GIB, 1.0, "cpu")
    assert fitting_batch(cost, 20 * GIB, 1000, 16) == 8  # 0.6 · 20 − 2 = 10 images
    assert fitting_batch(cost, 1000 * GIB, 1000, 16) == 16
    assert fitting_batch(cost, 1000 * GIB, 5, 16) == 2
    assert fitting_batch(cost, 6 * GIB, 1000, 16) == 1
    with pytest.raises(UserError, match=r"one image keeps 1\.0 GiB.*4\.0 GiB free; try tune=prompt"):
        fitting_batch(cost, 4 * GIB, 1000, 16)


class Squares(nn.Module):
    """Keeps one tensor of 4000 bytes for the backward pass of each image."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1000,), factor))

    def losses(self, batch: Tensor) -> LossReport:
        return LossReport({"square": ((batch * self.weight) ** 2).sum()}, {})


def test_what_a_step_keeps_is_counted_without_the_weights() -> None:
    task = Squares()
    cost = step_cost(task, [torch.ones(2, 1000)], torch.device("cpu"))
    assert cost.bytes_per_image == 8000  # the product and the batch, each 4000
    assert cost.bytes_besides == 3 * 4000
    assert task.weight.grad is None


def test_a_first_loss_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="first loss is nan"):
        step_cost(Squares(float("nan")), [torch.ones(1, 1000)], torch.device("cpu"))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    from glipv2.finetuning.facts import whole_data

    with pytest.raises(UserError, match="does not exist"):
        whole_data(str(tmp_path / "missing"), {})
