"""Claims about what happens around training steps."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from glipv2.callbacks import ProgressLines, StepsBar
from glipv2.monitors import Throughput
from glipv2.trainer import TrainerConfig

STEP: Any = SimpleNamespace(global_step=50, is_global_zero=True, max_steps=200, callback_metrics={}, loggers=[])
NOBODY: Any = None  # the module, which these callbacks do not ask
BATCH = SimpleNamespace(truth=[SimpleNamespace(name=f"{name}.jpg") for name in "abcdef"])


def test_validation_does_not_slow_the_measured_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 13.0, 110.0, 112.0])
    monkeypatch.setattr("glipv2.monitors.time.perf_counter", lambda: next(clock))
    speed, module = Throughput(), NOBODY
    assert speed.images_per_second == 0
    speed.on_train_batch_start(STEP, module, range(8), 0)
    speed.on_train_batch_end(STEP, module, None, range(8), 0)  # 10 s to 11 s
    speed.on_train_batch_start(STEP, module, range(8), 1)
    speed.on_train_batch_end(STEP, module, None, range(8), 1)  # to 13 s, waiting for data included
    speed.on_validation_start(STEP, module)
    speed.on_train_batch_start(STEP, module, range(4), 2)
    speed.on_train_batch_end(STEP, module, None, range(4), 2)  # 110 s to 112 s
    assert speed.images_per_second == 20 / 5


def test_a_bar_stands_in_terminals_alone_and_tells_no_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert TrainerConfig(max_steps=1, accelerator="cpu").build(None, [], []).progress_bar_callback is None
    assert StepsBar()._get_train_description(0) == "Training  "


def test_progress_is_one_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    lines = ProgressLines(every=25)
    metrics = {"train/loss": torch.tensor(1.25), "lr": torch.tensor(0.1)}
    with caplog.at_level(logging.INFO):
        for step in range(1, 60):
            trainer: Any = SimpleNamespace(**{**vars(STEP), "global_step": step, "callback_metrics": metrics})
            lines.on_train_batch_end(trainer, NOBODY, None, BATCH, step)
    assert [record.getMessage().split("  ")[:2] for record in caplog.records] == [
        ["step 25/200", "loss 1.250"],
        ["step 50/200", "loss 1.250"],
    ]
