"""What all tasks share: steps, logging, optimisers, and what a checkpoint says of itself. Knows no task by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor

from glipv2.data.datamodule import Collator
from glipv2.errors import UserError
from glipv2.structures import DetectionBatch, Vocabulary

if TYPE_CHECKING:
    from glipv2.data.dataset import DataConfig, SampleDataset
    from glipv2.models import ModelConfig
    from glipv2.optim import OptimConfig

RECORD_KEY = "glipv2"


@dataclass(frozen=True)
class LossReport:
    """terms: scalars whose sum is trained; report: numbers only shown."""

    terms: Mapping[str, Tensor]
    report: Mapping[str, Tensor]

    @property
    def total(self) -> Tensor:
        """What is differentiated."""
        return torch.stack(list(self.terms.values())).sum()


class Scores(Protocol):
    """What a metric's compute gives: numbers by name."""

    def flat(self, prefix: str) -> dict[str, float]: ...


@dataclass
class TaskConfig:
    """Base of every task preset.

    needs: what a data preset must provide; monitor: the number by which the best checkpoint is chosen.
    """

    name: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()
    monitor: ClassVar[str] = ""

    def build(self, model: ModelConfig, loss: Any) -> Task:
        """The task with fresh heads on a fresh core."""
        raise NotImplementedError(f"{type(self).__name__} must define build(model, loss)")

    def collator(self, model: ModelConfig, data: DataConfig, samples: SampleDataset, training: bool) -> Collator:
        """How examples become this task's batches."""
        raise NotImplementedError(f"{type(self).__name__} must define collator(model, data, samples, training)")


class Task(pl.LightningModule):
    """Core and heads with their training. Subclasses give losses, predictions and metrics."""

    config: TaskConfig
    model_config: ModelConfig
    vocabulary: Vocabulary | None = None  # over which predictions are made
    optim: OptimConfig | None = None
    score_prefix: str = ""  # under which scores are logged; empty = the task's name
    scores: Mapping[str, float] = {}  # of the latest validation
    record: Mapping[str, Any] = {}  # set by whoever trains: what a checkpoint says of itself, as JSON values

    def losses(self, batch: Any) -> LossReport:
        """The loss terms of a training batch."""
        raise NotImplementedError

    def predictions(self, batch: Any) -> Sequence[Any]:
        """What a user sees, one a sample, in original pixels."""
        raise NotImplementedError

    def reset_metric(self, vocabulary: Vocabulary, scored_names: Sequence[str]) -> None:
        """A fresh metric for the names of a data set."""
        raise NotImplementedError

    def update_metric(self, predictions: Sequence[Any], batch: Any) -> None:
        """Counts the predictions of one batch."""
        raise NotImplementedError

    def compute_metric(self) -> Scores:
        """The scores over everything counted since the reset, over all ranks."""
        raise NotImplementedError

    def training_step(self, batch: DetectionBatch, batch_index: int) -> Tensor:
        """One step; every term is logged by name."""
        report = self.losses(batch)
        for name, value in {**report.terms, **report.report}.items():
            self.log(f"train/{name}", value.detach(), prog_bar=name in report.terms, batch_size=len(batch))
        total = report.total
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=len(batch))
        return total

    def on_validation_epoch_start(self) -> None:
        """Points the metric at the evaluated data set."""
        samples = self.trainer.datamodule.eval_samples  # type: ignore[attr-defined]
        self.reset_metric(samples.vocabulary, samples.scored_names)

    def validation_step(self, batch: DetectionBatch, batch_index: int) -> dict[str, Any]:
        """Predicts, counts, and hands the predictions on to callbacks."""
        found = self.predictions(batch)
        self.update_metric(found, batch)
        return {"predictions": found}

    def on_validation_epoch_end(self) -> None:
        """Logs every number; the monitored one also in the progress bar."""
        self.scores = self.compute_metric().flat(self.score_prefix or self.config.name)
        for name, value in self.scores.items():
            self.log(name, value, prog_bar=name == self.config.monitor)

    def configure_optimizers(self) -> Any:
        """As the `optim` preset says, over all steps of the run."""
        if self.optim is None:
            raise UserError("no optimiser is set; set task.optim before fitting")
        optimizer, schedule = self.optim.build(self, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Config and vocabulary as plain JSON: such a file loads without running code."""
        checkpoint[RECORD_KEY] = json.dumps(self.record)
