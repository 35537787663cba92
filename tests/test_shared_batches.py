"""Claims about two processes with batches of 2: they train what one process trains with batches of 4, go on from a
checkpoint bit for bit, and do both with weights that are spread over them too.

This file is also the program that starts them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from small_models import tiny_model
from torch.multiprocessing.spawn import start_processes

from glipv2.checkpoint_files import LAST, PREVIOUS
from glipv2.data.augment import AugmentConfig
from glipv2.data.datamodule import DataModule, Feed
from glipv2.data.dataset import SampleDataset
from glipv2.data.sources import ShapesData
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.optim import OptimConfig
from glipv2.saving import LastCheckpoint, StepSeeds
from glipv2.sharding import gathered
from glipv2.structures import Instances, Sample
from glipv2.tasks.base import Task, TaskConfig
from glipv2.tasks.captioning import CaptioningConfig
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.instance_segmentation import InstanceSegmentationConfig
from glipv2.tasks.joint import JointConfig
from glipv2.tasks.phrase_grounding import PhraseGroundingConfig
from glipv2.tasks.vqa import VqaConfig
from glipv2.trainer import SHARDED, TrainerConfig

pytestmark = pytest.mark.slow


class WithoutBoxes:
    """Samples of which only every fourth keeps its objects: most ranks meet batches without any box."""

    def __init__(self, samples: SampleDataset) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.samples, name)

    def __getitem__(self, row: int) -> Sample:
        sample = self.samples[row]
        if row % 4 == 0:
            return sample
        masks = torch.zeros(0, *sample.image_size, dtype=torch.bool)
        return replace(sample, instances=replace(Instances.empty(), masks=masks))


@dataclass
class MostlyEmpty(ShapesData):
    """Shapes as `WithoutBoxes`."""

    def dataset(self, split: str, needs: frozenset[str] = frozenset()) -> SampleDataset:
        return WithoutBoxes(super().dataset(split, needs))


@dataclass(frozen=True)
class Case:
    """A task, its data and how many steps are trained."""

    task: TaskConfig
    data: type[ShapesData] = ShapesData
    steps: int = 2


CASES: Mapping[str, Case] = {
    "detection": Case(DetectionConfig()),
    "instance_segmentation": Case(InstanceSegmentationConfig()),
    "phrase_grounding": Case(PhraseGroundingConfig()),
    "vqa": Case(VqaConfig(questions_per_image=2)),
    "captioning": Case(CaptioningConfig()),
    "joint": Case(JointConfig(), steps=6),
    "detection without boxes": Case(DetectionConfig(), MostlyEmpty, 2),
    "instance_segmentation without boxes": Case(InstanceSegmentationConfig(), MostlyEmpty, 2),
}
# also trained with trainer.strategy=fsdp: ways with and without a whole fusion layer; torch plans each for a second
SPREAD = Case(JointConfig(weights={"detection": 1.0, "captioning": 1.0}), steps=2)


WAYS = ("whole", "resumed")


def plain_descent(task: Task) -> torch.optim.Optimizer:
    """Adam divides by the gradient's own size, which makes a difference of nothing out of rounding."""
    return torch.optim.SGD(task.parameters(), lr=0.02, foreach=False)


def prepared(case: Case, model: ModelConfig, batch_size: int) -> tuple[Task, DataModule]:
    """A case's task and data, the same in every process."""
    torch.manual_seed(0)
    config = case.data(
        batch_size=batch_size, workers=0, image_size=64, train_scenes=20, eval_scenes=1,
        augment=AugmentConfig(flip=0.5, color=0.2),
    )  # fmt: skip
    feeds = {
        name: Feed(stream.task.needs, partial(stream.task.collator, model, config), stream.weight)
        for name, stream in case.task.streams().items()
    }
    data = DataModule(config, model.pixels, feeds, train=True, eval_split="val", seed=5)
    task = case.task.build(model, LossConfig(), data.answers).train()
    return task, data


def train(
    case: Case, model: ModelConfig, batch_size: int, ranks: int, strategy: str = "auto"
) -> tuple[dict[str, Any], list[str]]:
    """Weights after the case's steps, and the names of the samples this rank saw, in order."""
    task, data = prepared(case, model, batch_size)
    seen: list[str] = []
    task.losses = noted(task.losses, seen)  # type: ignore[method-assign]
    task.configure_optimizers = partial(plain_descent, task)  # type: ignore[method-assign]
    before = {name: value.clone() for name, value in task.state_dict().items()}
    torch.manual_seed(batch_size)  # nothing that is drawn from here on may come from torch's own generator
    trainer_of(case, ranks, strategy).fit(task, datamodule=data)
    weights = gathered({name: value.clone() for name, value in task.state_dict().items()}, keep=True)
    return {"before": before, "after": weights}, seen


def trainer_of(case: Case, ranks: int, strategy: str, callbacks: Sequence[Callback] = ()) -> pl.Trainer:
    """For a case's steps, without validation; gradients are clipped."""
    config = TrainerConfig(
        max_steps=case.steps, accelerator="cpu", devices=ranks, strategy=strategy, progress=False,
        options={"limit_val_batches": 0},
    )  # fmt: skip
    return config.build(None, callbacks, [], case.task.skips())


def go_on(folder: Path, model: ModelConfig, strategy: str) -> None:
    """Two steps of AdamW with a checkpoint after each; then the second once more, from the first's checkpoint."""
    whole, resumed = folder / f"{strategy}_whole", folder / f"{strategy}_resumed"
    case = Case(DetectionConfig())
    for place, start in ((whole, None), (resumed, whole / PREVIOUS)):
        task, data = prepared(case, model, batch_size=2)
        task.optim = OptimConfig(lr=1e-3, warmup_steps=0, lr_factors={"core": 0.0})  # few tensors: quickly planned
        task.optim.freeze(task)
        callbacks = [StepSeeds(0), LastCheckpoint(place / LAST, 1, 0)]
        trainer = trainer_of(case, 2, strategy, callbacks)
        trainer.fit(task, datamodule=data, ckpt_path=start, weights_only=True)


def noted(losses: Any, seen: list[str]) -> Any:
    """The loss function, which also notes the names of the samples."""

    def wrapped(batch: Any) -> Any:
        seen.append(" ".join([getattr(batch, "task", ""), *(truth.name for truth in batch.truth)]))
        return losses(batch)

    return wrapped


def rank_main(rank: int, folder: Path, port: int, ranks: int) -> None:
    """Trains every case as one of `ranks` processes and keeps what came of it."""
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), NODE_RANK="0", LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks)
    )
    model = torch.load(folder / "model.pt", weights_only=False)
    for name, case in CASES.items():
        weights, seen = train(case, model, 4 // ranks, ranks)
        torch.save({**weights, "seen": seen}, folder / f"{name}_{ranks}_{rank}.pt")
    weights, seen = train(SPREAD, model, 4 // ranks, ranks, "auto" if ranks == 1 else SHARDED)
    torch.save({**weights, "seen": seen}, folder / f"spread_{ranks}_{rank}.pt")
    for strategy in ("auto", SHARDED) if ranks == 2 else ():
        go_on(folder, model, strategy)


def start(folder: Path, ranks: int) -> None:
    """Forked, so that torch is imported once and not by each rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start_processes(rank_main, args=(folder, port, ranks), nprocs=ranks, start_method="fork")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what one process and what each of two made of every case."""
    folder = tmp_path_factory.mktemp("shared_batches")
    model = tiny_model()
    model.image.frozen_batch_norm = True  # batch statistics are a rank's own
    model.answers.dropout = 0.0  # and so is dropout
    torch.save(model, folder / "model.pt")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-W", "ignore", __file__, str(folder)], env=environment, timeout=600, check=True)
    return folder


def found(folder: Path, name: str, ranks: int, rank: int) -> dict[str, Any]:
    return torch.load(folder / f"{name}_{ranks}_{rank}.pt", weights_only=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", CASES)
def test_ranks_share_the_batches_of_one_process_in_its_order(name: str, trained: Path) -> None:
    alone, *parts = (found(trained, name, *place)["seen"] for place in ((1, 0), (2, 0), (2, 1)))
    assert len(alone) == CASES[name].steps
    for whole, first, second in zip(alone, *parts, strict=True):
        (task, *names), (task_1, *first_names), (task_2, *second_names) = (
            words.split(" ") for words in (whole, first, second)
        )
        assert (task, sorted(names)) == (task_1, sorted([*first_names, *second_names]))
        assert task_1 == task_2
        assert len(names) == 4


@pytest.mark.parametrize("name", CASES)
def test_two_processes_end_with_the_weights_of_one(name: str, trained: Path) -> None:
    alone, first, second = (found(trained, name, *place) for place in ((1, 0), (2, 0), (2, 1)))
    moved = [(alone["after"][key] - alone["before"][key]).abs().max() for key in alone["after"]]
    assert max(moved) > 1e-3
    for key, value in alone["after"].items():
        torch.testing.assert_close(first["after"][key], second["after"][key], rtol=0, atol=0)
        torch.testing.assert_close(first["after"][key], value, rtol=1e-4, atol=2e-6)


def test_weights_spread_over_two_processes_end_as_those_of_one(trained: Path) -> None:
    assert {words.split(" ")[0] for words in found(trained, "spread", 1, 0)["seen"]} == {"detection", "captioning"}
    alone = found(trained, "spread", 1, 0)["after"]
    for rank in (0, 1):
        spread = found(trained, "spread", 2, rank)["after"]
        assert {key: value.shape for key, value in spread.items()} == {key: own.shape for key, own in alone.items()}
        torch.testing.assert_close(spread, alone, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("strategy", ["auto", SHARDED])
def test_two_processes_go_on_from_a_checkpoint_bit_for_bit(strategy: str, trained: Path) -> None:
    whole, resumed = (torch.load(trained / f"{strategy}_{way}" / LAST, weights_only=True) for way in WAYS)
    assert whole["global_step"] == 2
    first = torch.load(trained / f"{strategy}_whole" / PREVIOUS, weights_only=True)
    assert first["global_step"] == 1
    assert not torch.equal(first["state_dict"]["regions.log_scale"], whole["state_dict"]["regions.log_scale"])
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(resumed[part], whole[part], rtol=0, atol=0)


def test_checkpoints_of_spread_weights_look_like_any_others(trained: Path) -> None:
    plain, spread = (torch.load(trained / f"{name}_whole" / LAST, weights_only=True) for name in ("auto", SHARDED))
    assert {name: value.shape for name, value in spread["state_dict"].items()} == {
        name: value.shape for name, value in plain["state_dict"].items()
    }
    torch.testing.assert_close(spread["optimizer_states"], plain["optimizer_states"], rtol=1e-2, atol=1e-4)


def test_the_joint_case_trains_most_tasks(trained: Path) -> None:
    assert len({words.split(" ")[0] for words in found(trained, "joint", 1, 0)["seen"]}) >= 4


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads does not outlive the fork
    for number in (1, 2):
        start(Path(sys.argv[1]), number)
