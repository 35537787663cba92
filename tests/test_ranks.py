"""Claims about the processes of a job: they work from one config, end together, and say what differs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch.distributed as dist
import yaml
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from glipv2 import ranks
from glipv2.config import config_folder
from glipv2.errors import UserError
from glipv2.ranks import RANK, Job, JobEnvironment, Meeting, compare, flat, meeting_place, other_ranks, own_environment
from glipv2.trainer import TrainerConfig

SRUN = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NAME": "big", "SLURM_PROCID": "0"}
SWEEP = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=null")
TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]",
    "data=shapes", "data.image_size=64", "data.batch_size=2", "data.eval_batch_size=4", "data.workers=0",
    "data.eval_scenes=4", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_steps=1", "trainer.log_every=1",
    "trainer.progress=false", "tracking=off", "gallery=0", "name=swept",
)  # fmt: skip
PLAIN = """
import hydra, pytorch_lightning as pl, torch
from omegaconf import OmegaConf

class Tiny(pl.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.layer, self.lr = torch.nn.Linear(2, 1), lr
    def on_train_start(self):
        with open(f"rank_{self.global_rank}", "w") as file:
            file.write(str(self.lr))
    def training_step(self, batch, index):
        return self.layer(batch).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)

@hydra.main(version_base="1.3", config_path=None, config_name="plain")
def main(config):
    data = torch.utils.data.DataLoader(torch.ones(4, 2))
    pl.Trainer(max_steps=1, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
               enable_progress_bar=False).fit(Tiny(config.lr), data)
    return 0.0

hydra.core.config_store.ConfigStore.instance().store(name="plain", node={"lr": 0.1})
main()
"""


def command(folder: Path, *words: str) -> str:
    """What a command says; it must succeed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", *words], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=400, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.slow
def test_plain_lightning_under_a_sampling_sweep_trains_two_configs_in_one_trial(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    command(tmp_path, "plain.py", *SWEEP, "hydra.sweeper.n_trials=1", "lr=interval(0.001,0.1)")
    first, second = (float((tmp_path / f"rank_{rank}").read_text()) for rank in (0, 1))
    assert first != second


def folders_of(sweep: Path) -> dict[str, float]:
    """The learning rate of every finished run of a sweep."""
    assert not [path for path in sweep.iterdir() if path.is_dir() and not (path / "metrics.json").is_file()]
    return {path.parent.name: yaml.safe_load(path.read_text())["optim"]["lr"] for path in sweep.glob("*/config.yaml")}


@pytest.mark.slow
@pytest.mark.parametrize("start", [("-m", "glipv2.cli"), ("-m", "torch.distributed.run", "--nproc-per-node=2")])
def test_the_ranks_of_a_trial_train_with_one_config_here(tmp_path: Path, start: tuple[str, ...]) -> None:
    start = start if len(start) == 2 else (*start, "-m", "glipv2.cli")
    words = (*SWEEP, "hydra.sweeper.n_trials=2", "optim.lr=interval(0.0001,0.01)")
    said = command(tmp_path, *start, "train", *words, *TINY)  # each trial compares its ranks' configs and would stop
    assert said.count("MEMBER: 2/2") >= 1
    (sweep,) = (tmp_path / "runs/swept").iterdir()
    found = folders_of(sweep)
    assert set(found) == {"0", "1"}
    assert found["0"] != found["1"]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_differing_configs_stop_the_run_and_the_keys_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (flat({"seed": seed, "optim": {"lr": lr}, "same": [1]}) for seed, lr in ((0, 0.1), (0, 0.2)))
    monkeypatch.setattr(ranks, "gathered", lambda value: [value, second if isinstance(value, dict) else "other"])
    with pytest.raises(UserError, match=r"optim\.lr \(rank 0: 0\.1, rank 1: 0\.2\)") as found:
        compare(first)
    assert "seed" not in str(found.value)
    assert "same" not in str(found.value)
    monkeypatch.setattr(ranks, "gathered", lambda value: [value, value])
    compare(first)


class Place(JobEnvironment):
    """Where two ranks of somebody else meet."""

    def __init__(self, rank: int, port: int) -> None:
        super().__init__()
        self._main_port = port
        self.set_global_rank(rank)

    def set_global_rank(self, rank: int) -> None:
        self._global_rank = rank


def test_the_first_rank_hands_out_whole_jobs_in_order_and_says_when_there_are_no_more() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    first, second = Meeting(Place(0, port)), Meeting(Place(1, port))
    jobs = [Job("train", TrainerConfig(max_steps=steps), Path(f"runs/{steps}")) for steps in (1, 2)]
    for job in (*jobs, None):
        first.hand_out(job)
    assert [second.next_job() for _ in range(3)] == [*jobs, None]


@pytest.mark.parametrize(
    ("variables", "ours", "meets"),
    [
        ({}, True, None),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "big", "SLURM_PROCID": "0"}, True, None),
        (
            {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NAME": "big", "SLURM_PROCID": "0"},
            False,
            "SLURMEnvironment",
        ),
        ({"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "0"}, False, "TorchElasticEnvironment"),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False, None),
        ({RANK: "1", "LOCAL_RANK": "1", "SLURM_NTASKS": "8", "SLURM_JOB_NAME": "big"}, True, None),
    ],
)
def test_processes_are_started_by_us_unless_somebody_else_does(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], ours: bool, meets: str | None
) -> None:
    for name in ("SLURM_NTASKS", "SLURM_JOB_NAME", "LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", RANK):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    place, own = meeting_place(), own_environment()
    assert [type(one) for one in own] == [JobEnvironment] * ours + [type(place)] * (meets == "SLURMEnvironment")
    assert not any(isinstance(one, SLURMEnvironment) and one.auto_requeue for one in own)  # it saves within steps
    assert (type(place).__name__ if place else None) == meets


@contextmanager
def two_processes(monkeypatch: pytest.MonkeyPatch, entry: str) -> Any:
    """What `other_ranks` does for a trainer of two devices whose second process runs `entry`."""
    monkeypatch.setattr(ranks, "ENTRY", entry)
    monkeypatch.setattr(ranks, "PATIENCE", 60.0)
    trainer = TrainerConfig(accelerator="cpu", devices=2).build(None, [], [])
    with other_ranks(trainer, Job("train", SimpleNamespace(seed=3), Path("runs"))):
        yield


def test_a_process_gets_the_job_and_its_rank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    entry = (
        "import os; from glipv2.ranks import received_job; job = received_job(); "
        f"open({str(kept)!r}, 'w').write(f\"{{os.environ['GLIPV2_RANK']}} {{job.command}} {{job.config.seed}}\")"
    )
    with two_processes(monkeypatch, entry):
        pass
    assert kept.read_text() == "1 train 3"
    assert not dist.is_initialized()
    assert "GLIPV2_PORT" not in os.environ


def test_a_process_that_fails_ends_the_job_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(UserError, match="process 1 of the job ended with status 3"),
        two_processes(monkeypatch, "import sys; sys.stdin.buffer.read(); sys.exit(3)"),
    ):
        raise RuntimeError("the connection was closed by the peer")


def test_an_error_of_the_first_process_is_not_blamed_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(RuntimeError, match="my own"),
        two_processes(monkeypatch, "import sys, time; sys.stdin.buffer.read(); time.sleep(60)"),
    ):
        raise RuntimeError("my own")


def test_a_process_ends_with_the_one_that_started_it() -> None:
    child = "import os, time; from glipv2.ranks import end_with; end_with(os.getppid()); print(1, flush=True)"
    child += "; time.sleep(99)"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"1\n"
        parent.kill()
        assert parent.communicate(timeout=60) == (b"", None)  # the pipe ends with the child


def test_one_device_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    trainer = TrainerConfig(accelerator="cpu", devices=1).build(None, [], [])
    assert isinstance(trainer.strategy, pl.strategies.SingleDeviceStrategy)
    with other_ranks(trainer, Job("train", None)):
        pass


def test_presets_of_sweepers_and_launchers_are_shipped() -> None:
    found = {path.relative_to(config_folder() / "hydra").as_posix() for path in config_folder().glob("hydra/*/*.yaml")}
    assert {"sweeper/tpe.yaml", "launcher/processes.yaml", "launcher/slurm.yaml", "launcher/slurm_here.yaml"} <= found
