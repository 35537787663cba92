"""Scores of a task on a split, with pictures of what it saw."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from glipv2.checkpoints import read_checkpoint, weights_file
from glipv2.config import EvaluateConfig, check_pair
from glipv2.data.datamodule import DataModule, Feed
from glipv2.data.dataset import DataConfig, SampleDataset
from glipv2.models import ModelConfig
from glipv2.models.fetch import is_address
from glipv2.report.gallery import side_by_side
from glipv2.runs import write_json, write_metrics
from glipv2.structures import ImageTruth, Prediction
from glipv2.tasks.base import Task, TaskConfig
from glipv2.tracking import log_pictures

log = logging.getLogger(__name__)


class KeepPredictions(Callback):
    """Keeps every prediction of a validation, as records, and the first few for the gallery, by task."""

    def __init__(self, pictures: int) -> None:
        self.pictures = pictures
        self.records: dict[str, list[dict[str, Any]]] = {}
        self.first: dict[str, list[tuple[ImageTruth, Prediction]]] = {}

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        name = list(pl_module.subtasks())[dataloader_idx]  # type: ignore[operator]
        records, first = self.records.setdefault(name, []), self.first.setdefault(name, [])
        for found, truth in zip(outputs["predictions"], batch.truth, strict=True):
            records += found.to_records(truth.image_id)
            if len(first) < self.pictures:
                first.append((truth.to("cpu"), found.to("cpu")))


def open_data(task: TaskConfig, model: ModelConfig, data: DataConfig, *, train: bool, split: str) -> DataModule:
    """The loaders of a task, and of all tasks of a joint one, over a data preset."""
    feeds = {}
    for name, stream in task.streams().items():
        check_pair(stream.task, data)
        feeds[name] = Feed(stream.task.needs, partial(stream.task.collator, model, data), stream.weight)
    return DataModule(data, model.pixels, feeds, train=train, eval_split=split)


def score_split(
    task: Task, data: DataModule, trainer: pl.Trainer, folder: Path, split: str, pictures: int
) -> dict[str, float]:
    """Validates, writes predictions and a gallery of the split, and returns its scores by name.

    Scores of a split other than "val" carry its name: detection/unseen/box_ap. Files of a joint task
    carry the names of its tasks: predictions/val_vqa.json.
    """
    keeper = KeepPredictions(pictures)
    trainer.callbacks.append(keeper)  # type: ignore[attr-defined]
    task.score_prefix = score_name("{task}", split)
    trainer.validate(task, datamodule=data, verbose=False)
    trainer.callbacks.remove(keeper)  # type: ignore[attr-defined]
    if trainer.is_global_zero:
        for name in keeper.records:
            shown = split if len(keeper.records) == 1 else f"{split}_{name}"
            write_json(folder / "predictions" / f"{shown}.json", keeper.records[name])
            _write_gallery(keeper.first[name], data.eval_samples[name], trainer, folder / "gallery" / shown)
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
    data = open_data(task.config, task.model_config, config.data, train=False, split=config.split)
    beside = Path() if is_address(config.weights) else source.parent  # not into the hub's cache
    folder = Path(config.output) if config.output else beside / "evaluation" / config.split
    trainer = config.trainer.build(None, [], [])
    scores = score_split(task, data, trainer, folder, config.split, config.gallery)
    write_metrics(folder, scores)
    log.info("%s", summary(scores))
    log.info("written to %s", folder)
    return scores


def summary(scores: Mapping[str, float]) -> str:
    """The headline numbers, without those of single classes."""
    kinds = ("box_", "mask_", "ar_", "cider_d", "bleu_4", "rouge_l", "recall_", "merged_", "accuracy")
    headline = {name: round(value, 4) for name, value in scores.items() if name.split("/")[-1].startswith(kinds)}
    return json.dumps(headline, indent=2)


def _write_gallery(
    kept: Sequence[tuple[ImageTruth, Prediction]], samples: SampleDataset, trainer: pl.Trainer, folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    for index, (truth, found) in enumerate(kept):
        picture = side_by_side(samples[index].image, truth, found)
        picture.save(folder / f"{index:02d}_{Path(truth.name).stem}.png")
        shown.append(picture)
    if shown:
        log_pictures(trainer.loggers, f"gallery/{folder.name}", shown, trainer.global_step)
