"""What all tasks share: steps, logging, optimisers, and what a checkpoint says of itself. Knows no task by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from glipv2.data.datamodule import Collator
from glipv2.errors import UserError, undefined
from glipv2.losses.ranks import mean_over_ranks
from glipv2.models import Parts
from glipv2.structures import ImageBatch, ImageTruth, Vocabulary

if TYPE_CHECKING:
    from glipv2.data.dataset import DataConfig, SampleDataset
    from glipv2.losses.glipv2 import LossConfig
    from glipv2.models import ModelConfig
    from glipv2.optim import OptimConfig

RECORD_KEY = "glipv2"

Shared = TypeVar("Shared")


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

    needs: what a sample must hold; monitor: the number by which the best checkpoint is chosen;
    best: the largest value that number can take; headlines: the numbers told beside it when a run ends.
    """

    name: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()
    monitor: ClassVar[str] = ""
    best: ClassVar[float] = 1.0
    headlines: ClassVar[tuple[str, ...]] = ()

    def build(self, model: ModelConfig, loss: LossConfig, answers: Sequence[str] = ()) -> Task:
        """The task with fresh heads on a fresh core; answers: what the answer head chooses from."""
        return self.assemble(Parts(model, answers), loss)

    def assemble(self, parts: Parts, loss: LossConfig) -> Task:
        """The task on the parts of a model; tasks on the same parts train one set of weights."""
        raise undefined(self, "assemble(parts, loss)")

    def collator(self, model: ModelConfig, data: DataConfig, samples: SampleDataset, training: bool) -> Collator:
        """How examples become this task's batches."""
        raise undefined(self, "collator(model, data, samples, training)")

    def check(self, started: bool) -> None:
        """UserError for settings that can't work; started: whether training starts from other weights."""

    def skips(self) -> bool:
        """Whether a training step may leave trainable parameters unused, which several devices have to know."""
        return False

    def streams(self) -> Mapping[str, Stream]:
        """The tasks that this one trains and measures, by name: itself, or several for a joint task."""
        return {self.name: Stream(self)}


@dataclass(frozen=True)
class Stream:
    """Batches of one task; weight: how often, relative to the other streams, training draws from it."""

    task: TaskConfig
    weight: float = 1.0


class Task(pl.LightningModule):
    """Core and heads with their training. Subclasses give losses, predictions and metrics."""

    config: TaskConfig
    model_config: ModelConfig
    vocabulary: Vocabulary | None = None  # over which predictions are made
    answers: tuple[str, ...] = ()  # that the answer head chooses from
    optim: OptimConfig | None = None
    score_prefix: str = ""  # under which scores are logged; empty = the task's name
    scores: Mapping[str, float] = {}  # of the latest validation
    terms: Mapping[str, Tensor] = {}  # of the latest training step
    record: Mapping[str, Any] = {}  # set by whoever trains: what a checkpoint says of itself, as JSON values

    def __init__(self, config: TaskConfig, parts: Parts) -> None:
        super().__init__()
        self.config = config
        self.model_config = parts.core.config
        self.answers = parts.answer_names

    def uses(self, parts: Shared) -> Shared:
        """Registers the modules among a dataclass's fields under the fields' names, and returns it.

        Names are the same in every task, so weights move between tasks by name.
        """
        for entry in dataclasses.fields(parts):  # type: ignore[arg-type]
            value = getattr(parts, entry.name)
            if isinstance(value, nn.Module):
                self.add_module(entry.name, value)
        return parts

    def parts(self) -> Parts:
        """The modules of this task, for further tasks on the same weights."""
        return Parts(self.model_config, self.answers, dict(self.named_children()))

    def train(self, mode: bool = True) -> Self:
        """Parts that are not trained stay as in evaluation: no dropout, no moving statistics."""
        super().train(mode)
        for module in self.modules():
            parameters = list(module.parameters())
            if mode and parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def subtasks(self) -> Mapping[str, Task]:
        """The tasks that validation measures, by name: itself, or several for a joint task."""
        return {self.config.name: self}

    def losses(self, batch: Any) -> LossReport:
        """The loss terms of a training batch."""
        raise undefined(self, "losses(batch)")

    def predictions(self, batch: Any) -> Sequence[Any]:
        """What a user sees, one a sample, in original pixels."""
        raise undefined(self, "predictions(batch)")

    def request(self, text: str) -> Any:
        """What a user's text asks of this task; UserError when it asks for nothing."""
        raise undefined(self, "request(text)")

    def batch_for(self, images: ImageBatch, truth: tuple[ImageTruth, ...], request: Any) -> Any:
        """A batch for `predictions`: pictures of which nothing is known but their sizes, and a request."""
        raise undefined(self, "batch_for(images, truth, request)")

    def reset_metric(self, samples: SampleDataset) -> None:
        """A fresh metric for a data set."""
        raise undefined(self, "reset_metric(samples)")

    def update_metric(self, predictions: Sequence[Any], batch: Any) -> None:
        """Counts the predictions of one batch."""
        raise undefined(self, "update_metric(predictions, batch)")

    def compute_metric(self) -> Scores:
        """The scores over everything counted since the reset, over all ranks."""
        raise undefined(self, "compute_metric()")

    def diagnosis(self) -> Mapping[str, Any] | None:
        """What goes wrong in what was counted since the reset, as JSON values; None where nothing is known of it.

        Called on all ranks.
        """
        return None

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """One step; every term is logged by name."""
        report = self.losses(batch)
        self.terms = {name: value.detach() for name, value in report.terms.items()}
        total = report.total
        shown = self._of_all_ranks({**report.terms, **report.report, "loss": total})
        for name, value in shown.items():
            bar = name in report.terms or name == "loss"
            self.log(f"train/{name}", value, prog_bar=bar, batch_size=len(batch))
        return total

    def _of_all_ranks(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The means over ranks at steps that are logged, in one exchange; at others a rank's own, for nobody."""
        own = {name: value.detach().float() for name, value in values.items()}
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return own
        return dict(zip(own, mean_over_ranks(torch.stack(list(own.values()))), strict=True))

    def on_validation_epoch_start(self) -> None:
        """Points every metric at the evaluated data set."""
        eval_samples = self.trainer.datamodule.eval_samples  # type: ignore[attr-defined]
        for name, task in self.subtasks().items():
            task.reset_metric(eval_samples[name])

    def validation_step(self, batch: Any, batch_index: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Predicts, counts, and hands the predictions on to callbacks."""
        task = list(self.subtasks().values())[dataloader_idx]
        found = task.predictions(batch)
        task.update_metric(found, batch)
        return {"predictions": found}

    def on_validation_epoch_end(self) -> None:
        """Logs every number; the monitored one also in the progress bar."""
        scores: dict[str, float] = {}
        for name, task in self.subtasks().items():
            scores |= task.compute_metric().flat(self.score_prefix.format(task=name) or name)
        self.scores = {**scores, **self.summary(scores)}
        for name, value in self.scores.items():
            self.log(name, value, prog_bar=name == self.config.monitor)

    def summary(self, scores: Mapping[str, float]) -> Mapping[str, float]:
        """Further numbers made of the scores; none for a single task."""
        return {}

    def configure_model(self) -> None:
        """Hands itself to a strategy that spreads weights over devices, before anything is trained."""
        spread = getattr(self.trainer.strategy, "spread", None)
        if spread is not None:
            spread(self)

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:  # fmt: skip
        """By the strategy, where it has a way of its own for gradients that are spread."""
        clip = getattr(self.trainer.strategy, "clip", None)
        if clip is None or gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            clip(self.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        """As the `optim` preset says, over all steps of the run."""
        if self.optim is None:
            raise UserError("no optimiser is set; set task.optim before fitting")
        optimizer, schedule = self.optim.build(self, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Config and vocabulary as plain JSON: such a file loads without running code."""
        checkpoint[RECORD_KEY] = json.dumps(self.record)
