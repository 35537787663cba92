"""Scores of a task on a split, with pictures of what it saw."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from glipv2.checkpoints import read_checkpoint, weights_file
from glipv2.config import EvaluateConfig, check_pair
from glipv2.data.datamodule import DataModule
from glipv2.data.dataset import DataConfig
from glipv2.models.fetch import is_address
from glipv2.report.gallery import side_by_side
from glipv2.runs import output_folder, write_json, write_metrics
from glipv2.structures import Detections
from glipv2.tasks.base import Task
from glipv2.tracking import log_pictures
from glipv2.trainer import interrupts_as_such

log = logging.getLogger(__name__)


class KeepPredictions(Callback):
    """Keeps every prediction of a validation, as COCO records, and the first few for the gallery."""

    def __init__(self, pictures: int) -> None:
        self.pictures = pictures
        self.records: list[dict[str, Any]] = []
        self.first: list[tuple[Any, Detections]] = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        for found, truth in zip(outputs["predictions"], batch.truth, strict=True):
            self.records += found.to_coco(truth.image_id)
            if len(self.first) < self.pictures:
                self.first.append((truth.to("cpu"), found.to("cpu")))


def open_data(task: Task, data: DataConfig, *, train: bool, split: str) -> DataModule:
    """The loaders of a task over a data preset."""
    check_pair(task.config, data)
    model = task.model_config
    return DataModule(
        data,
        model.pixels,
        lambda samples, training: task.config.collator(model, data, samples, training),
        train=train,
        eval_split=split,
    )


def score_split(
    task: Task, data: DataModule, trainer: pl.Trainer, folder: Path, split: str, pictures: int
) -> dict[str, float]:
    """Validates, writes predictions and a gallery of the split, and returns its scores by name.

    Scores of a split other than "val" carry its name: detection/unseen/box_ap.
    """
    keeper = KeepPredictions(pictures)
    trainer.callbacks.append(keeper)  # type: ignore[attr-defined]
    task.score_prefix = score_name(task.config.name, split)
    with interrupts_as_such():
        trainer.validate(task, datamodule=data, verbose=False)
    trainer.callbacks.remove(keeper)  # type: ignore[attr-defined]
    if trainer.is_global_zero:
        write_json(folder / "predictions" / f"{split}.json", keeper.records)
        _write_gallery(keeper, data, trainer, folder / "gallery" / split, split)
    return dict(task.scores)


def score_name(name: str, split: str) -> str:
    """A score or its prefix on a split: detection/box_ap, detection/unseen/box_ap."""
    task, *rest = name.split("/")
    return "/".join([task, *([] if split == "val" else [split]), *rest])


def evaluate(config: EvaluateConfig) -> dict[str, float]:
    """`glipv2 evaluate`: metrics.json, predictions and a gallery beside the weights, or under `output`."""
    source = weights_file(config.weights)
    task = read_checkpoint(source).build()
    config.data.check_split(config.split)
    data = open_data(task, config.data, train=False, split=config.split)
    beside = Path() if is_address(config.weights) else source.parent  # not into the hub's cache
    folder = Path(config.output) if config.output else beside / "evaluation" / config.split
    trainer = config.trainer.build(None, [], [])
    with output_folder(folder):
        scores = score_split(task, data, trainer, folder, config.split, config.gallery)
        write_metrics(folder, scores)
    log.info("%s", summary(scores))
    log.info("written to %s", folder)
    return scores


def summary(scores: Mapping[str, float]) -> str:
    """The headline numbers, without those of single classes."""
    headline = {
        name: round(value, 4) for name, value in scores.items() if name.split("/")[-1].startswith(("box_", "ar_"))
    }
    return json.dumps(headline, indent=2)


def _write_gallery(keeper: KeepPredictions, data: DataModule, trainer: pl.Trainer, folder: Path, split: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    for index, (truth, found) in enumerate(keeper.first):
        picture = side_by_side(data.eval_samples[index].image, truth, found)
        picture.save(folder / f"{index:02d}_{Path(truth.name).stem}.png")
        shown.append(picture)
    if shown:
        log_pictures(trainer.loggers, f"gallery/{split}", shown, trainer.global_step)
