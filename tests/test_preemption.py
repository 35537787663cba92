"""Claims about a SLURM job that has to make place: it saves, is queued again, and ends as if it never had to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from glipv2.config import TrainConfig
from glipv2.curves_file import read_rows
from glipv2.nonfinite import StopOnNonFinite
from glipv2.preemption import SIGNALS, Preemption, job_id, queue_again, was_queued_again
from glipv2.saving import LastCheckpoint

Command = Callable[..., Any]
TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]", "data=shapes",
    "data.image_size=64", "data.batch_size=2", "data.eval_batch_size=4", "data.workers=0", "data.eval_scenes=2",
    "trainer.log_every=1", "tracking=off", "trainer.progress=false", "trainer.max_steps=3", "gallery=0",
    "trainer=slurm", "trainer.accelerator=cpu",
)  # fmt: skip
SLURM = {
    "SLURM_JOB_ID": "123", "SLURM_JOB_NAME": "big", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
}  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a SLURM job, and a scontrol that writes down what it is asked, in the file returned."""
    asked, scontrol = tmp_path / "asked", tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}")
    for name in (*SLURM, "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    return asked


def signal_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Sends both signals in the middle of a step, between its forward and its backward pass."""
    original = StopOnNonFinite.on_before_backward

    def hook(self: StopOnNonFinite, trainer: Any, pl_module: Any, loss: torch.Tensor) -> None:
        original(self, trainer, pl_module, loss)
        if trainer.global_step == step:
            for number in SIGNALS:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(StopOnNonFinite, "on_before_backward", hook)


@pytest.mark.slow
def test_a_job_that_has_to_make_place_is_queued_again_and_ends_in_the_same_weights(
    tmp_path: Path, glipv2: Command, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", *TINY, "task=detection")
    whole = glipv2(tmp_path, *words, "output=whole")
    assert whole.code == 0, whole.err
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with monkeypatch.context() as patch:
        signal_at(patch, step=1)
        ended = glipv2(tmp_path, *words, "output=run")
    assert ended.code == 130
    assert cluster.read_text() == "requeue 123\n"
    assert "at step 2 of 3; it is saved in" in ended.err
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 2
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert glipv2(tmp_path, *words, "output=run").code == 2  # by hand, the folder of a run stays what it is

    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = glipv2(tmp_path, *words, "output=run")
    assert again.code == 0, again.err
    expected, found = (load_file(tmp_path / run / "weights.safetensors") for run in ("whole", "run"))
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    first, second = (
        [{name: value for name, value in row.items() if not name.startswith("time/")} for row in read_rows(path)]
        for path in (tmp_path / "whole/metrics.csv", tmp_path / "run/metrics.csv")
    )
    assert second == first
    assert {path.name for path in (tmp_path / "run/checkpoints").iterdir()} == {
        path.name for path in (tmp_path / "whole/checkpoints").iterdir()
    }  # none of Lightning's own
    assert cluster.read_text() == "requeue 123\n"


def test_a_job_that_could_not_find_its_folder_again_is_refused(tmp_path: Path, glipv2: Command) -> None:
    ended = glipv2(tmp_path, "train", *TINY)
    assert ended.code == 2
    assert "trainer.requeue: a job that is queued again has to find its run; give output=FOLDER" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_queues_nothing_and_an_error_neither(cluster: Path) -> None:
    for kind in (KeyboardInterrupt, ValueError):
        with pytest.raises(kind), Preemption():
            raise kind
    assert not cluster.exists()


def test_outside_of_training_a_signal_ends_the_run_at_once(cluster: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
    try:
        with pytest.raises(KeyboardInterrupt), Preemption():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert cluster.read_text() == "requeue 123\n"


def test_ranks_stop_together_between_steps_and_a_shared_validation_is_left_by_queueing_alone(
    tmp_path: Path, cluster: Path
) -> None:
    told = SimpleNamespace(reduce_boolean_decision=lambda own, all: True)  # another rank was asked
    trainer: Any = SimpleNamespace(strategy=told, accumulate_grad_batches=1, world_size=2, is_global_zero=True)
    with pytest.raises(KeyboardInterrupt):
        LastCheckpoint(tmp_path / "last.ckpt", 0, 0).on_train_batch_start(trainer, None, None, 0)  # type: ignore[arg-type]
    before = signal.signal(signal.SIGINT, lambda *_: None)  # as in training, where it only leaves a note
    try:
        with Preemption() as preemption:
            preemption.on_validation_batch_start(trainer, None, None, 0)  # type: ignore[arg-type]
            assert not cluster.exists()
            os.kill(os.getpid(), signal.SIGUSR1)
            for batch in (1, 2):
                preemption.on_validation_batch_start(trainer, None, None, batch)  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGINT, before)
    assert cluster.read_text() == "requeue 123\n"


def test_a_job_that_is_not_queued_again_says_why(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scontrol = cluster.parent / "bin/scontrol"
    scontrol.write_text("#!/bin/sh\necho Requested operation not supported >&2\nexit 1\n")
    queue_again()
    assert "the job 123 is not queued again: scontrol says: Requested operation not supported" in caplog.text
    monkeypatch.delenv("SLURM_JOB_ID")
    queue_again()
    assert "this is no SLURM job" in caplog.text


def test_a_job_is_told_by_its_environment() -> None:
    assert job_id({}) is None
    assert job_id({"SLURM_JOB_ID": "7"}) == "7"
    assert job_id({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}) == "7_2"
    assert [was_queued_again({"SLURM_RESTART_COUNT": count}) for count in ("", "0", "2")] == [False, False, True]
    assert not was_queued_again({})


def test_nodes_and_devices_are_those_of_the_job(
    compose: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SLURM_NNODES": "4", "SLURM_NTASKS_PER_NODE": "8"}.items():
        monkeypatch.setenv(name, value)
    trainer = compose(["trainer=slurm"]).trainer
    assert (trainer.devices, trainer.options["num_nodes"], trainer.requeue) == (8, 4, True)
    for name in ("SLURM_NNODES", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.delenv(name)
    trainer = compose(["trainer=slurm"]).trainer
    assert (trainer.devices, trainer.options["num_nodes"]) == (1, 1)
