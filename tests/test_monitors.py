"""Claims about what is measured beside the loss."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from glipv2.data.mixing import TrainingStream
from glipv2.monitors import Throughput, gradient_norms, model_summary


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.ModuleDict({"image": nn.Linear(3, 4), "text": nn.Linear(2, 2)})
        self.regions = nn.Linear(4, 1)


def test_gradient_norms_are_those_of_all_numbers_of_a_part() -> None:
    torch.manual_seed(0)
    model = Small()
    for parameter in [*model.core["image"].parameters(), *model.regions.parameters()]:
        parameter.grad = torch.randn_like(parameter)
    found = gradient_norms(model)
    image = torch.cat([parameter.grad.flatten() for parameter in model.core["image"].parameters()])
    regions = torch.cat([parameter.grad.flatten() for parameter in model.regions.parameters()])
    assert list(found) == ["gradients/all", "gradients/image", "gradients/regions"]  # the text had no gradient
    torch.testing.assert_close(found["gradients/image"], image.norm())
    torch.testing.assert_close(found["gradients/all"], torch.cat([image, regions]).norm())
    assert gradient_norms(Small()) == {}


def test_a_summary_counts_what_is_trained_by_part() -> None:
    model = Small()
    model.core["text"].requires_grad_(False)
    assert model_summary(model) == {
        "image": {"parameters": 16, "trained": 16},
        "text": {"parameters": 6, "trained": 0},
        "regions": {"parameters": 5, "trained": 5},
    }


def test_a_stream_knows_how_long_it_was_waited_for() -> None:
    def slow() -> Any:
        for number in range(3):
            time.sleep(0.02)
            yield number

    order = SimpleNamespace(step_size=1, start=0)
    source = SimpleNamespace(loader=slow(), order=order, weight=1.0)
    stream = TrainingStream({"detection": source}, 0, 3, lambda: 0)  # type: ignore[dict-item]
    assert list(stream) == [0, 1, 2]
    assert stream.waited >= 0.06


def test_speed_and_waiting_are_logged_over_the_steps_since_they_were_last(monkeypatch: Any) -> None:
    clock = iter([10.0, 11.0, 13.0, 14.0, 15.0])
    monkeypatch.setattr("glipv2.monitors.time.perf_counter", lambda: next(clock))
    logged: list[dict[str, float]] = []
    module: Any = SimpleNamespace(log_dict=lambda numbers, **_: logged.append(numbers))
    trainer: Any = SimpleNamespace(
        loggers=[1], log_every_n_steps=2, world_size=2, global_step=0, train_dataloader=SimpleNamespace(waited=0.0)
    )
    speed = Throughput()
    for step, waited in enumerate([0.25, 1.5, 1.5, 2.0], start=1):
        trainer.global_step, trainer.train_dataloader.waited = step, waited
        speed.on_train_batch_start(trainer, module, range(4), step)
        speed.on_train_batch_end(trainer, module, None, range(4), step)
    assert logged == [
        {"time/images_per_second": 2 * 8 / 3, "time/data_wait": 1.5 / 3},
        {"time/images_per_second": 2 * 8 / 2, "time/data_wait": 0.5 / 2},
    ]
