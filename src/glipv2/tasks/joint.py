"""Several tasks at once: one set of weights, batches of one task each, one optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from glipv2.errors import UserError, nearest
from glipv2.tasks.base import LossReport, Stream, Task, TaskConfig
from glipv2.tasks.captioning import CaptioningConfig
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.instance_segmentation import InstanceSegmentationConfig
from glipv2.tasks.phrase_grounding import PhraseGroundingConfig
from glipv2.tasks.vqa import VqaConfig

if TYPE_CHECKING:
    from glipv2.data.mixing import RoutedBatch
    from glipv2.losses.glipv2 import LossConfig
    from glipv2.models import Parts

TASKS = ("detection", "instance_segmentation", "phrase_grounding", "vqa", "captioning")


@dataclass
class JointConfig(TaskConfig):
    """`task=joint`. weights: how often a training batch is of each task; 0 leaves a task out.

    The best checkpoint is chosen by the mean of the tasks' own monitored numbers, each relative to
    the best value it can take.
    """

    name: ClassVar[str] = "joint"
    monitor: ClassVar[str] = "joint/mean"

    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 1.0))
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    instance_segmentation: InstanceSegmentationConfig = field(default_factory=InstanceSegmentationConfig)
    captioning: CaptioningConfig = field(default_factory=CaptioningConfig)
    phrase_grounding: PhraseGroundingConfig = field(default_factory=PhraseGroundingConfig)
    vqa: VqaConfig = field(default_factory=VqaConfig)

    def check(self, started: bool) -> None:
        """Each task's own; what one of them does not train another may."""
        for stream in self.streams().values():
            stream.task.check(started=True)

    def skips(self) -> bool:
        """A step is of one task, the heads of the others rest."""
        return True

    def streams(self) -> Mapping[str, Stream]:
        """The tasks with a weight."""
        return {name: Stream(self._part(name), weight) for name, weight in self.weights.items() if weight > 0}

    def _part(self, name: str) -> TaskConfig:
        part = getattr(self, name, None)
        if not isinstance(part, TaskConfig):
            known = [key for key, value in vars(self).items() if isinstance(value, TaskConfig)]
            raise UserError(f"task.weights: no task '{name}' to train jointly; {nearest(name, known)}")
        return part

    def assemble(self, parts: Parts, loss: LossConfig) -> JointTask:
        """Every task with a weight on the same parts."""
        streams = self.streams()
        if not streams:
            raise UserError("task.weights: every weight is 0; give at least one task a positive weight")
        return JointTask(self, parts, {name: stream.task.assemble(parts, loss) for name, stream in streams.items()})


class JointTask(Task):
    """Trains tasks that share their modules; each keeps its own losses, predictions and metric."""

    config: JointConfig

    def __init__(self, config: JointConfig, parts: Parts, tasks: Mapping[str, Task]) -> None:
        super().__init__(config, parts)
        self._tasks = dict(tasks)  # a plain dict: their modules are registered here, once, under shared names
        for task in tasks.values():
            for name, module in task.named_children():
                self.add_module(name, module)

    def subtasks(self) -> Mapping[str, Task]:
        """The tasks by name."""
        return self._tasks

    def losses(self, batch: RoutedBatch) -> LossReport:
        """Those of the batch's task, under its name, and their sum: a step's loss is of one task only."""
        report = self._tasks[batch.task].losses(batch.batch)
        shown = {**report.report, "loss": report.total.detach()}
        return LossReport(
            {f"{batch.task}/{name}": value for name, value in report.terms.items()},
            {f"{batch.task}/{name}": value for name, value in shown.items()},
        )

    def predictions(self, batch: Any) -> Sequence[Any]:
        """Not defined for all tasks at once: ask one of `subtasks()`."""
        raise NotImplementedError("a joint task predicts through its subtasks()")

    def summary(self, scores: Mapping[str, float]) -> Mapping[str, float]:
        """joint/mean over the tasks' monitored numbers, each divided by the best value it can take."""
        prefix = self.score_prefix or "{task}"
        shares = []
        for name, task in self._tasks.items():
            number = task.config.monitor.split("/", 1)[1]
            shares.append(scores[f"{prefix.format(task=name)}/{number}"] / task.config.best)
        return {f"{prefix.format(task='joint')}/mean": sum(shares) / len(shares)}
