"""What every protocol is: rounds of evaluation on opened data, and a table of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from glipv2.data.dataset import DataConfig, SampleDataset
from glipv2.data.prompts import PromptConfig
from glipv2.errors import UserError, undefined
from glipv2.ranges import at_least
from glipv2.tasks.base import Task, TaskConfig
from glipv2.tasks.detection import DetectionConfig

TaskKind = TypeVar("TaskKind", bound=TaskConfig)


@dataclass
class GivenData(DataConfig):
    """Samples that a protocol has opened, for the loaders."""

    provides: ClassVar[frozenset[str]] = frozenset({"boxes", "phrases"})
    splits: ClassVar[tuple[str, ...]] = ("val",)

    samples: SampleDataset | None = None

    def dataset(self, split: str, needs: frozenset[str] = frozenset()) -> SampleDataset:
        """Those samples."""
        assert self.samples is not None, "a round is made with its samples"
        return self.samples


@dataclass(frozen=True)
class Round:
    """One data set of a protocol.

    name: before its scores and its files, "coco" or "odinw/Aquarium". written: the best boxes of an image
    that predictions.json and the gallery show, 0 = all.
    """

    name: str
    task: TaskConfig
    data: GivenData
    written: int = 0


@dataclass
class ProtocolConfig:
    """`protocol=none`, and base of every protocol: how images are loaded. batch_size changes no number.

    workers: loader processes (0 = none). on_error: "raise" refuses files with faults, "skip" counts them
    and leaves them out.
    """

    name: ClassVar[str] = "none"

    batch_size: int = at_least(1, 8)
    workers: int = at_least(0, 1)
    on_error: str = "raise"

    def rounds(self, trained: Task) -> Sequence[Round]:
        """All data sets, opened and checked; UserError before anything runs. trained: the loaded weights' task."""
        raise undefined(self, "rounds(trained)")

    def summary(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Further numbers made of those of all rounds."""
        return {}

    def table(self, scores: Mapping[str, float]) -> list[list[str]]:
        """Rows of the table that is printed at the end; the first is the heading."""
        raise undefined(self, "table(scores)")

    def data(self, samples: SampleDataset, prompts: PromptConfig | None = None) -> GivenData:
        """The samples with this protocol's loading."""
        given = GivenData(eval_batch_size=self.batch_size, workers=self.workers, samples=samples)
        return given if prompts is None else replace(given, prompts=prompts)


def own_config(trained: Task, kind: type[TaskKind]) -> TaskKind:
    """The settings of that kind of task with which the weights were trained, or its defaults."""
    found = [task.config for task in trained.subtasks().values() if type(task.config) is kind]
    return found[0] if found else kind()


def detection_of(trained: Task) -> DetectionConfig:
    """See `own_config`; an instance segmenter detects with its own selection."""
    config = own_config(trained, DetectionConfig)
    others = [task.config for task in trained.subtasks().values() if hasattr(task.config, "selection")]
    known = any(type(task.config) is DetectionConfig for task in trained.subtasks().values())
    return config if known or not others else DetectionConfig(selection=others[0].selection)


def given_path(value: str | None, key: str) -> str:
    """A path that must be set; UserError naming its key."""
    if not value:
        raise UserError(f"protocol.{key} is not set; give the path, as in protocol.{key}=PATH")
    return value


def percent(scores: Mapping[str, float], name: str) -> str:
    """A score as people quote it: 46.6; "–" where there is none."""
    value = scores.get(name, -1.0)
    return "–" if value < 0 else f"{100 * value:.1f}"
