"""The processes of a job: each of them works from the very config that the first one resolved.

Lightning starts the processes of further devices by running the command again, and `torchrun` and `srun` run it on
every rank. A sweep then draws anew in each of them, a timestamp gives each another folder, and ranks of one trial
train with different settings. Here only the first process composes a config. Processes that we start read the job
from a pipe; those that somebody else started take it from a store at the address where ranks meet anyway.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from lightning_fabric.plugins.environments.lsf import LSFEnvironment
from lightning_fabric.plugins.environments.mpi import MPIEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch._C._distributed_c10d import PrefixStore, TCPStore

from glipv2.errors import UserError

log = logging.getLogger(__name__)

ENTRY = "from glipv2.cli import main; main(['rank'])"
RANK, PORT = "GLIPV2_RANK", "GLIPV2_PORT"
WORDS_OF_OTHERS = ("RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = 30.0  # seconds that a process has to end by itself
SWEEP_MAY_LAST = timedelta(days=60)


@dataclass(frozen=True)
class Job:
    """What all ranks of a job do: a command with its whole config, and the run's folder where it has one."""

    command: str
    config: Any
    folder: Path | None = None


class JobEnvironment(LightningEnvironment):
    """The processes of one job on this machine, which `other_ranks` starts and Lightning does not."""

    def __init__(self) -> None:
        super().__init__()
        self._main_port = int(os.environ[PORT]) if PORT in os.environ else find_free_network_port()

    @property
    def creates_processes_externally(self) -> bool:
        """Always: Lightning starts nothing."""
        return True

    @property
    def main_address(self) -> str:
        """Here, whatever an earlier job left in the environment."""
        return "127.0.0.1"

    def local_rank(self) -> int:
        """Of this process, 0 for the one that started the others."""
        return int(os.environ.get(RANK, "0"))

    def node_rank(self) -> int:
        """There is one machine."""
        return 0


def own_environment() -> list[ClusterEnvironment]:
    """Ours, unless somebody else starts the processes: torchrun, srun with several tasks, LSF, MPI, or a person.

    Lightning finds those out itself; but where it finds SLURM it would also save on signals, in the middle of a step.
    """
    if RANK in os.environ:
        return [JobEnvironment()]
    place = meeting_place()
    if isinstance(place, SLURMEnvironment):
        return [place]
    others = (TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)
    by_hand = "LOCAL_RANK" in os.environ or "NODE_RANK" in os.environ
    if by_hand or place is not None or any(other.detect() for other in others):
        return []
    return [JobEnvironment()]


# Processes that we start


@contextmanager
def other_ranks(trainer: pl.Trainer, job: Job) -> Iterator[None]:
    """Starts the job's processes for further devices before Lightning needs them, and ends them with the first.

    Does nothing on one device, in such a process itself, and where others start them.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    starts = isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher)
    if not isinstance(environment, JobEnvironment) or not starts or RANK in os.environ or trainer.num_devices < 2:
        yield
        return
    os.environ[PORT] = str(environment.main_port)  # for further trainers of this job
    children = _Children([_started(job, rank, environment.main_port) for rank in range(1, trainer.num_devices)])
    try:
        yield
        children.end(wait=True)
    except Exception as error:
        failed = children.failed()
        children.end(wait=False)
        if failed is not None:
            raise UserError(f"{failed}; what it said stands above") from error
        raise
    except BaseException:
        children.end(wait=True)  # Ctrl-C and SIGTERM reach them too, and they save together
        raise
    finally:
        children.end(wait=False)
        os.environ.pop(PORT, None)
        if dist.is_initialized():
            dist.destroy_process_group()  # the next job of a sweep brings other processes


def _started(job: Job, rank: int, port: int) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in WORDS_OF_OTHERS}
    environment |= {
        RANK: str(rank),
        PORT: str(port),
        "LOCAL_RANK": str(rank),
    }  # the last for what logs before it begins
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen([sys.executable, "-P", "-c", ENTRY], env=environment, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(job))
    process.stdin.close()
    return process


class _Children:
    """Processes of further ranks. One that fails takes the job with it: the others would wait for it for ever."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self.processes = processes
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="ranks").start()

    def failed(self) -> str | None:
        """Which process failed, and how; waits a moment, for an error here may be the first sign of one there."""
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for rank, process in enumerate(self.processes, start=1):
                if process.poll():
                    return f"process {rank} of the job ended with status {process.returncode}"
            time.sleep(0.1)
        return None

    def end(self, wait: bool) -> None:
        """Waits for all of them for a while if asked to, then ends those that are left."""
        self._over.set()
        until = time.monotonic() + (PATIENCE if wait else 0)
        for process in self.processes:
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
            if process.poll() is None:
                process.kill()
                process.wait()

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            failed = next((rank for rank, one in enumerate(self.processes, start=1) if one.poll()), None)
            if failed is not None and not self._over.wait(PATIENCE):
                status = self.processes[failed - 1].returncode
                print(f"error: process {failed} of the job ended with status {status}", file=sys.stderr, flush=True)
                self.end(wait=False)
                os._exit(1)  # this process waits in a collective operation, which no exception reaches


def received_job() -> Job:
    """The job from the pipe, in a process that `other_ranks` started; it ends when the first process is gone."""
    job = pickle.load(sys.stdin.buffer)
    assert isinstance(job, Job), "a process of a job reads a job"
    end_with(os.getppid())
    return job


def end_with(parent: int) -> None:
    """From now on this process ends when the one that started it, `parent`, is gone: nothing else may tell it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


# Processes that others start


def meeting_place() -> ClusterEnvironment | None:
    """Where ranks meet that torchrun or srun started; None for a process of its own, and for those we start."""
    if RANK in os.environ:
        return None
    if TorchElasticEnvironment.detect() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return TorchElasticEnvironment()
    if SLURMEnvironment.detect() and int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:  # tasks that are counted otherwise
            raise UserError(f"SLURM: {error}") from error
    return None


class Meeting:
    """Hands jobs from the first rank to the others, one after the other, through a store that all of them reach."""

    def __init__(self, place: ClusterEnvironment) -> None:
        self.rank = place.global_rank()
        agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun keeps one itself
        store = TCPStore(
            place.main_address, place.main_port, None, is_master=self.rank == 0 and not agent, multi_tenant=True,
            timeout=SWEEP_MAY_LAST,
        )  # fmt: skip
        self._store = PrefixStore(f"glipv2/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        self._count = 0

    def hand_out(self, job: Job | None) -> None:
        """Called by the first rank; None = there are no more."""
        self._store.set(f"job/{self._count}", b64encode(pickle.dumps(job)).decode())
        self._count += 1

    def next_job(self) -> Job | None:
        """Called by the others; waits."""
        self._store.wait([f"job/{self._count}"], SWEEP_MAY_LAST)
        self._count += 1
        job = pickle.loads(b64decode(self._store.get(f"job/{self._count - 1}")))
        assert job is None or isinstance(job, Job), "ranks hand on jobs"
        return job


_meeting: Meeting | None = None


def meeting() -> Meeting | None:
    """The one of this process, opened at the first call; None where nobody else started several processes."""
    global _meeting  # noqa: PLW0603  # the store must outlive a job, and there is one a process
    place = meeting_place()
    if _meeting is None and place is not None:
        _meeting = Meeting(place)
    return _meeting


def agreed(job: Job) -> Job:
    """The first rank's job, on every rank that works on it."""
    met = meeting()
    if met is None:
        return job
    if met.rank == 0:
        met.hand_out(job)
        return job
    given = met.next_job()
    if given is None:
        raise UserError("the first rank ended before it had a job for the others")
    return given


# What is asserted


class SameConfig(Callback):
    """Before the first step: all ranks have the same config, or the run stops and names what differs."""

    def __init__(self, config: Any) -> None:
        self.values = flat(asdict(config))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """The ranks have met, and nothing has been trained."""
        if trainer.world_size > 1 and dist.is_initialized():
            compare(self.values)


def compare(values: Mapping[str, Any]) -> None:
    """UserError on every rank when one has other values; short ones first, for most runs agree."""
    digests = gathered(digest(values))
    if len(set(digests)) == 1:
        return
    every = gathered(dict(values))
    keys = sorted({key for own in every for key in own if any(own.get(key) != other.get(key) for other in every)})
    told = [f"{key} ({', '.join(f'rank {rank}: {own.get(key)!r}' for rank, own in enumerate(every))})" for key in keys]
    raise UserError(
        f"the ranks of this run have different configs: {'; '.join(told[:5])}{'; …' * (len(told) > 5)}; "
        f"start them by one command, as docs/sweeps.md shows"
    )


def gathered(value: Any) -> list[Any]:
    """A small value of every rank."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def digest(values: Mapping[str, Any]) -> str:
    """Of a config's values, the same in every process."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
