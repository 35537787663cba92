"""Claims about the optimiser: the schedule's values by hand, and which parameters learn how fast."""

from __future__ import annotations

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from glipv2.errors import UserError
from glipv2.optim import OptimConfig
from glipv2.tasks.detection import DetectionTask


def test_warm_up_rises_evenly_and_never_starts_at_zero() -> None:
    config = OptimConfig(warmup_steps=4, schedule="constant")
    assert [config.factor(step, 100) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_cosine_ends_at_its_last_factor_and_stays_there() -> None:
    config = OptimConfig(warmup_steps=10, final_lr_factor=0.1)
    assert config.factor(10, 110) == 1
    assert config.factor(60, 110) == pytest.approx(0.55)
    assert config.factor(110, 110) == pytest.approx(0.1)
    assert config.factor(500, 110) == pytest.approx(0.1)


def test_steps_fall_at_67_and_89_percent() -> None:
    config = OptimConfig(warmup_steps=0, schedule="steps")
    found = [config.factor(step, 100) for step in (0, 66, 67, 88, 89, 99)]
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_trapezoid_falls_in_its_last_fifth_alone_so_that_a_run_can_be_prolonged() -> None:
    config = OptimConfig(warmup_steps=10, schedule="trapezoid", final_lr_factor=0.1)
    assert [config.factor(step, 100) for step in (0, 10, 80)] == pytest.approx([0.1, 1, 1])
    assert [config.factor(step, 100) for step in (90, 100, 300)] == pytest.approx([0.55, 0.1, 0.1])
    assert [config.factor(step, 1000) for step in range(80)] == [config.factor(step, 100) for step in range(80)]


@pytest.mark.parametrize("schedule", ["cosine", "steps", "constant", "trapezoid"])
def test_a_run_shorter_than_its_warm_up_or_of_no_steps_has_finite_rates(schedule: str) -> None:
    config = OptimConfig(warmup_steps=100, schedule=schedule)
    assert [config.factor(step, total) > 0 for step, total in ((0, 0), (5, 5), (99, 50))] == [True] * 3
    assert OptimConfig(warmup_steps=0, schedule=schedule).factor(0, 0) == 1


def test_an_unknown_schedule_comes_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"optim\.schedule: no schedule 'cosin'; did you mean 'cosine'"):
        OptimConfig(schedule="cosin").check()


def test_every_parameter_is_in_one_group_with_its_own_rate_and_decay(task: DetectionTask) -> None:
    task.core.text.requires_grad_(True)
    task.regions.words.weight.requires_grad_(False)
    config = OptimConfig(lr=1.0, text_lr_factor=0.5, image_lr_factor=0.25, weight_decay=0.125)
    optimizer, _ = config.build(task, 10)
    found = {
        id(parameter): (group["initial_lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    names = {name: found.get(id(parameter)) for name, parameter in task.named_parameters()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(found) == len(names) - 1
    assert names["regions.words.weight"] is None  # frozen
    assert names["regions.box_deltas.weight"] == (1.0, 0.125)
    assert names["regions.words.bias"] == (1.0, 0.0)  # biases and norms do not decay
    assert names["core.image.backbone.conv1.0.weight"] == (0.25, 0.125)
    assert names["core.image.pyramid.lateral.0.weight"] == (1.0, 0.125)  # new, not of the backbone
    assert names["core.text.model.embeddings.word_embeddings.weight"] == (0.5, 0.125)
    assert names["core.text.model.embeddings.LayerNorm.weight"] == (0.5, 0.0)


def test_the_scheduler_moves_every_group(task: DetectionTask) -> None:
    optimizer, schedule = OptimConfig(lr=1.0, text_lr_factor=0.5, warmup_steps=2).build(task, 10)
    rates = []
    for _ in range(2):
        rates.append(sorted({group["lr"] for group in optimizer.param_groups}))
        for parameter in task.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        schedule.step()
    assert rates == [[0.25, 0.5], [0.5, 1.0]]


def test_a_part_can_have_its_own_rate_by_the_beginning_of_its_names() -> None:
    config = OptimConfig(
        lr=1.0, text_lr_factor=0.5, lr_factors={"chooser": 0.25, "chooser.looks": 0.0, "core.text": 2.0}
    )
    rates = {name: config._lr_factor(name) for name in (
        "chooser.classifier.0.weight", "chooser.looks.0.query.weight", "choosers.weight", "core.text.x", "regions.y"
    )}  # fmt: skip
    assert list(rates.values()) == [0.25, 0.0, 1.0, 2.0, 1.0]


def test_layers_of_an_encoder_learn_slower_the_further_down_they_are(task: DetectionTask) -> None:
    optimizer, _ = OptimConfig(lr=1.0, text_lr_factor=0.5, layer_decay=0.5, weight_decay=0.0).build(task, 10)
    rates = {id(one): group["initial_lr"] for group in optimizer.param_groups for one in group["params"]}
    found = {name: rates[id(parameter)] for name, parameter in task.named_parameters()}
    assert found["core.text.model.encoder.layer.0.output.dense.weight"] == 0.5  # the one layer, which is the last
    assert found["core.text.model.embeddings.word_embeddings.weight"] == 0.25
    backbone = [rate for name, rate in found.items() if name.startswith("core.image.backbone.")]
    assert backbone == sorted(backbone)
    assert (backbone[0], backbone[-1]) == (0.5**4, 1.0)  # a stem and four blocks
    assert found["core.image.pyramid.lateral.0.weight"] == found["regions.box_deltas.weight"] == 1.0


def test_a_layer_decay_is_a_factor() -> None:
    with pytest.raises(UserError, match=r"optim\.layer_decay: expected a factor above 0 and up to 1, but got 0"):
        OptimConfig(layer_decay=0).check()


@pytest.mark.parametrize("scaled", [False, True])
def test_one_kernel_takes_the_steps_of_separate_operations_clipped_and_scaled(scaled: bool) -> None:
    """scaled: with a scaler of float16 around them, which must have undone its factor before gradients are clipped."""

    def trained(own: bool) -> torch.Tensor:
        torch.manual_seed(0)
        module = torch.nn.Linear(5, 3)
        config = OptimConfig(lr=0.01, warmup_steps=0, schedule="constant", weight_decay=0.1)
        optimizer, _ = config.build(module, 10)
        assert optimizer.defaults["fused"]
        if not own:
            optimizer = torch.optim.AdamW(optimizer.param_groups, foreach=False, fused=False)
            for group in optimizer.param_groups:
                group.update(foreach=False, fused=False)
        scaler = torch.amp.GradScaler("cpu", enabled=scaled and own)
        for _ in range(10):
            optimizer.zero_grad()
            scaler.scale(module(torch.randn(4, 5)).square().sum()).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
        return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])

    torch.testing.assert_close(trained(own=True), trained(own=False), rtol=1e-5, atol=1e-6)


def test_lightning_clips_what_the_optimiser_steps_with_in_mixed_precision() -> None:
    module = torch.nn.Linear(5, 3)
    optimizer, _ = OptimConfig().build(module, 10)
    module(torch.ones(4, 5)).sum().backward()
    MixedPrecision("bf16-mixed", "cpu").clip_gradients(optimizer, 0.5)
    grads = torch.cat([parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None])
    torch.testing.assert_close(grads.norm(), torch.tensor(0.5))
