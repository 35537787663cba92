"""What is kept of a validation besides its scores: predictions, pictures, and what went wrong."""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from glipv2.data.dataset import SampleDataset
from glipv2.metrics.marks import Mark, Tally, mark, most_frequent
from glipv2.report.gallery import side_by_side
from glipv2.runs import JsonList, write_json
from glipv2.structures import ImageTruth, Prediction
from glipv2.tasks.base import Task
from glipv2.tracking import log_pictures

log = logging.getLogger(__name__)

MOST_CONFUSIONS = 400
BEST, WORST = "best", "worst"  # folders of a gallery
DIAGNOSIS = "diagnosis"  # folder in a run's


@dataclass(frozen=True)
class Kept:
    """One image's prediction. place: in the data set; score: how right it is, see `Mark`."""

    place: int
    score: float | None
    truth: ImageTruth
    found: Prediction


@dataclass
class Pictures:
    """The first predictions of a task, the best and the worst, as many of each as a gallery shows of them."""

    first_count: int
    extreme_count: int
    seen: int = 0
    first: list[Kept] = field(default_factory=list)
    extremes: dict[str, list[tuple[float, int, Kept]]] = field(default_factory=lambda: {BEST: [], WORST: []})

    def add(self, one: Kept) -> None:
        """Keeps it where it is among them; of equal ones the first."""
        self.seen += 1
        if len(self.first) < self.first_count:
            self.first.append(one)
        if one.score is None or not self.extreme_count:
            return
        for name, heap in self.extremes.items():
            entry = (one.score if name == BEST else -one.score, -one.place, one)
            if len(heap) < self.extreme_count:
                heapq.heappush(heap, entry)
            elif entry[:2] > heap[0][:2]:
                heapq.heapreplace(heap, entry)

    def folders(self) -> dict[str, list[Kept]]:
        """Predictions by folder below the task's gallery, the most telling first; "" is the gallery itself.

        Where that shows all there are, there are no others.
        """
        if self.seen == len(self.first):
            return {"": self.first}
        ordered = {name: [one for *_, one in sorted(heap, key=lambda entry: entry[:2], reverse=True)]
                   for name, heap in self.extremes.items()}  # fmt: skip
        return {"": self.first, **ordered}


class KeepPredictions(Callback):
    """Writes every prediction of a validation as it comes, keeps some for the gallery, and counts outcomes, by task.

    files: where the records go, by task. written: only the best boxes of an image, 0 = all. With several ranks it is
    the share of the first.
    """

    def __init__(self, pictures: int, files: Mapping[str, Path], written: int = 0) -> None:
        self.written = written
        self.records = {name: JsonList(path) for name, path in files.items()}
        self.pictures = {name: Pictures(pictures, -(-pictures // 2)) for name in files}
        self.tallies: dict[str, Tally] = {name: Counter() for name in files}
        self._seen: Counter[str] = Counter()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if not trainer.is_global_zero:
            return
        name = list(pl_module.subtasks())[dataloader_idx]  # type: ignore[operator]
        for found, truth in zip(outputs["predictions"], batch.truth, strict=True):
            shown = found.best(self.written) if self.written else found
            self.records[name].extend(shown.to_records(truth.image_id))
            place = self._seen[name] * trainer.world_size  # ranks take the images in turn
            self._seen[name] += 1
            self._look(name, place, truth.to("cpu"), shown.to("cpu"))

    def _look(self, name: str, place: int, truth: ImageTruth, found: Prediction) -> None:
        try:
            known = mark(found, truth)
        except (ValueError, IndexError, RuntimeError) as error:  # a picture less in a gallery is worth no evaluation
            log.warning("%s of %s could not be judged: %s", name, truth.name, error)
            known = Mark(None)
        self.tallies[name].update(known.tally)
        self.pictures[name].add(Kept(place, known.score, truth, found))

    def finish(
        self, tasks: Mapping[str, Task], shown: Mapping[str, str], samples: Mapping[str, SampleDataset],
        trainer: pl.Trainer, folder: Path,
    ) -> None:  # fmt: skip
        """Writes what was kept; all ranks call it. shown: under which name each task's files stand."""
        for name, own in shown.items():
            known = tasks[name].diagnosis()
            if not trainer.is_global_zero:
                continue
            self.records[name].close()
            diagnosis = known or outcomes(self.tallies[name])
            if diagnosis:
                write_json(folder / DIAGNOSIS / f"{own}.json", diagnosis)
            for part, kept in self.pictures[name].folders().items():
                write_gallery(
                    kept, samples[name], folder / "gallery" / own / part, trainer.loggers, trainer.global_step
                )

    def abandon(self) -> None:
        """Takes back records that were not closed."""
        for records in self.records.values():
            records.abandon()


def outcomes(tally: Tally) -> dict[str, Any] | None:
    """Counted outcomes as JSON values, of phrases or of answers; None where there are none."""
    if not tally:
        return None
    total = tally.total()
    if all(len(words) == 1 for words in tally):
        return {"of": "phrases", "count": total, "kinds": {words[0]: number for words, number in tally.most_common()}}
    wrong = Counter({words: number for words, number in tally.items() if words[1] != words[2]})
    right: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for (kind, true, given), number in tally.items():
        kinds[kind] += number
        right[kind] += number * (true == given)
    rows = [[*words, number] for words, number in most_frequent(wrong, MOST_CONFUSIONS)]
    by_kind = {kind: {"right": right[kind], "wrong": kinds[kind] - right[kind]} for kind in kinds}
    return {"of": "answers", "count": total, "by_kind": by_kind, "confusion": rows}


def write_gallery(
    kept: Sequence[Kept], samples: SampleDataset, folder: Path, loggers: Sequence[Logger], step: int
) -> None:
    """Truth beside prediction, a file each; also to the trackers."""
    if kept:
        folder.mkdir(parents=True, exist_ok=True)
    extreme = folder.name in (BEST, WORST)
    shown = []
    for index, one in enumerate(kept):
        picture = side_by_side(samples[one.place].image, one.truth, one.found)
        score = f"_{one.score:.2f}" if extreme else ""
        picture.save(folder / f"{index:02d}{score}_{Path(one.truth.name).stem}.png")
        shown.append(picture)
    if shown:
        name = f"{folder.parent.name}/{folder.name}" if extreme else folder.name
        log_pictures(loggers, f"gallery/{name}", shown, step)
