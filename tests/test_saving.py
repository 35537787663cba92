"""Claims about runs that are cut off anywhere: whatever is saved goes on as if nothing had happened."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from torch import Tensor, nn
from torch.utils.data import DataLoader

from glipv2.callbacks import Averaged, BestCheckpoint
from glipv2.checkpoint_files import newest_whole, steps_in
from glipv2.curves_file import CurvesLogger, read_rows
from glipv2.data.mixing import Source, TrainingStream
from glipv2.data.order import TrainingOrder
from glipv2.saving import LastCheckpoint, StepSeeds
from glipv2.trainer import TrainerConfig

BATCHES = 14


class Numbers:
    """Samples that are their own indices, with noise from the seed of each draw."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, draw: Any) -> list[float]:
        return [float(draw.index), random.Random(draw.seed).random()]


class Small(pl.LightningModule):
    """A layer with dropout: everything that a resumption can lose moves its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))
        self.losses: list[float] = []
        self.validated: list[int] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = (self.layer(batch) - batch.sum(dim=1, keepdim=True)).square().mean() + random.random()
        self.losses.append(float(loss))
        self.log("train/loss", loss.detach(), batch_size=2)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        if batch_idx == 0:
            self.validated.append(self.global_step)
        self.log("score", self.layer(batch).mean(), batch_size=2)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Data(pl.LightningDataModule):
    """The training stream over `Numbers`."""

    def train_dataloader(self) -> TrainingStream:
        order = TrainingOrder(10, 2, "0")
        loader: Any = DataLoader(Numbers(), batch_sampler=order, collate_fn=torch.tensor, generator=torch.Generator())  # type: ignore[arg-type]
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return TrainingStream({"numbers": Source(loader, order)}, 0, BATCHES, lambda: int(progress.total.completed))

    def val_dataloader(self) -> Any:
        return DataLoader([torch.tensor([place, 0.5]) for place in range(4)], batch_size=2)  # type: ignore[arg-type]


class Snapshots(Callback):
    """Copies the run's folder whenever a step begins or ends, and within validation: what kill -9 would leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: list[Path] = []

    def _take(self) -> None:
        place = self.folder.with_name(f"{self.folder.name}_{len(self.taken)}")
        shutil.copytree(self.folder, place)
        self.taken.append(place)

    def on_train_batch_end(self, *_: Any) -> None:
        self._take()

    def on_train_end(self, *_: Any) -> None:
        self._take()

    def on_validation_batch_end(self, *_: Any) -> None:
        self._take()

    def on_validation_end(self, *_: Any) -> None:
        self._take()


def run(
    folder: Path, val_every: int, accumulate: int, save_every: int, *, batches: int = BATCHES, snapshots: bool = False
) -> tuple[Any, Any]:
    """Trains in a folder, going on with what is there."""
    pl.seed_everything(0, verbose=False)
    start = newest_whole(folder / "checkpoints")
    module, taker = Small(), Snapshots(folder)
    config = TrainerConfig(
        max_steps=batches // accumulate, val_every=val_every, accumulate=accumulate, accelerator="cpu", devices=1,
        log_every=1, progress=False, options={"enable_model_summary": False},
    )  # fmt: skip
    callbacks: list[Callback] = [
        StepSeeds(0),
        Averaged(0.8),
        LastCheckpoint(folder / "checkpoints/last.ckpt", save_every, 0),
        BestCheckpoint(folder / "checkpoints", "score"),
        LearningRateMonitor("step"),
    ]
    trainer = config.build(
        folder, [*callbacks, *([taker] if snapshots else [])], [CurvesLogger(folder, steps_in(start) if start else 0)]
    )
    trainer.fit(module, datamodule=Data(), ckpt_path=start, weights_only=True)
    trainer.validate(module, datamodule=Data(), verbose=False)
    return module, taker.taken


@pytest.mark.parametrize(
    ("val_every", "accumulate", "save_every"), [(0, 1, 1), (3, 1, 1), (3, 1, 2), (4, 1, 4), (2, 2, 1), (3, 2, 0)]
)
@pytest.mark.filterwarnings("ignore")
def test_a_run_killed_anywhere_ends_as_if_it_had_not_been(
    tmp_path: Path, val_every: int, accumulate: int, save_every: int
) -> None:
    whole, taken = run(tmp_path / "run", val_every, accumulate, save_every, snapshots=True)
    rows = read_rows(tmp_path / "run/metrics.csv")
    assert len(taken) >= BATCHES
    assert [int(row["step"]) for row in rows if row["train/loss"]] == [*range(BATCHES // accumulate)] or accumulate > 1
    for place in taken[::3] + taken[-2:]:
        with (place / "metrics.csv").open("a") if (place / "metrics.csv").is_file() else open(place / "x", "w") as file:
            file.write("0.123,half of a li")
        module, _ = run(place, val_every, accumulate, save_every)
        assert module.losses == whole.losses[len(whole.losses) - len(module.losses) :], place
        assert module.validated == whole.validated[len(whole.validated) - len(module.validated) :], place
        assert all(torch.equal(value, whole.state_dict()[name]) for name, value in module.state_dict().items())
        assert read_rows(place / "metrics.csv") == rows, place
        for name in ("best.ckpt", "last.ckpt") if val_every else ("last.ckpt",):
            first, second = (
                torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (tmp_path / "run", place)
            )
            assert first["global_step"] == second["global_step"]
            torch.testing.assert_close(second["state_dict"], first["state_dict"], rtol=0, atol=0)
            torch.testing.assert_close(second["optimizer_states"], first["optimizer_states"], rtol=0, atol=0)


def test_without_validations_between_steps_the_last_weights_are_measured_and_once(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "run", 0, 1, 2)
    assert whole.validated == [BATCHES]
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == BATCHES
    assert all(torch.equal(value, last["state_dict"][name]) for name, value in whole.state_dict().items())
    assert not (tmp_path / "run/checkpoints/best.ckpt").exists()


def test_a_finished_run_has_nothing_left_to_train(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "run", 3, 1, 2)
    again, _ = run(tmp_path / "run", 3, 1, 2)
    assert again.losses == []
    assert len(whole.losses) == BATCHES


@pytest.mark.parametrize(("val_every", "accumulate"), [(0, 1), (3, 1), (3, 2)])
def test_a_finished_run_that_is_made_longer_ends_as_if_it_had_been_one(
    tmp_path: Path, val_every: int, accumulate: int
) -> None:
    whole, _ = run(tmp_path / "whole", val_every, accumulate, 0)
    half, _ = run(tmp_path / "run", val_every, accumulate, 0, batches=8)
    longer, _ = run(tmp_path / "run", val_every, accumulate, 0)
    assert [*half.losses, *longer.losses] == whole.losses
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in longer.state_dict().items())
