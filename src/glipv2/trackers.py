"""Weights & Biases and TensorBoard as loggers that may fail without ending a run: its numbers are in metrics.csv."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from glipv2.report.scores import ScoreName, parse_score

if TYPE_CHECKING:
    from PIL.Image import Image
    from wandb.sdk.wandb_run import Run

log = logging.getLogger(__name__)

PATIENCE = 3  # failures in a row after which a tracker is asked no more: each may cost a timeout
UPLOAD_SECONDS = 300.0  # that the end of a run waits for uploads; `wandb sync` sends what is left
START_SECONDS = 30.0
Numbers = Mapping[str, Any]


class Tracker:
    """What the trackers beside the CSV file can do. Nothing here raises."""

    title = ""
    _failures = 0
    _told = False

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Adds to what is known of the run."""

    def sum_up(self, numbers: Mapping[str, float]) -> None:
        """Numbers of the whole run."""

    def show(self, key: str, pictures: Sequence[Image], step: int) -> None:
        """A gallery."""

    def keep(self, name: str, files: Sequence[Path]) -> None:
        """Files of weights, as an artifact where there are such."""

    def end(self) -> None:
        """Closes the run, so that the next job of a sweep gets one of its own."""

    def attempt(self, what: str, action: Callable[[], Any]) -> None:
        """Does it, unless the tracker has failed too often. A failure is told once."""
        if self._failures >= PATIENCE:
            return
        try:
            action()
            self._failures = 0
        except Exception as error:  # whatever a tracker may raise, it is not worth a run
            self._failures += 1
            if not self._told:
                self._told = True
                log.warning(
                    "%s: %s failed (%s); going on, metrics.csv has all numbers", self.title, what, line_of(error)
                )
            if self._failures == PATIENCE:
                log.warning("%s failed %d times in a row and is left alone from here on", self.title, PATIENCE)


class WandbTracker(Tracker, WandbLogger):
    """A run at Weights & Biases that has begun. Numbers of single classes come as one table a task and split."""

    title = "Weights & Biases"

    def __init__(self, run: Run) -> None:
        WandbLogger.__init__(self, project=run.project, experiment=run, log_model=False)
        self.run = run
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)

    @rank_zero_only
    def log_metrics(self, metrics: Numbers, step: int | None = None) -> None:
        """Plain numbers as they are, then the tables."""
        plain, tables = parted(metrics)
        write = super().log_metrics
        self.attempt("a step", lambda: write({**plain, **self._as_tables(tables)}, step))

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """See `WandbLogger`."""
        write = super().log_hyperparams
        self.attempt("the config", lambda: write(params))

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """See `WandbLogger`."""
        write = super().log_image
        self.attempt("a gallery", lambda: write(key, images, step, **kwargs))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Nothing: the run goes on with its evaluation, until `end`."""

    def tell(self, facts: Mapping[str, Any]) -> None:
        self.attempt("the config", lambda: self.run.config.update(dict(facts), allow_val_change=True))

    def sum_up(self, numbers: Mapping[str, float]) -> None:
        self.attempt("its summary", lambda: self.run.summary.update(dict(numbers)))

    def show(self, key: str, pictures: Sequence[Image], step: int) -> None:
        self.log_image(key, on_equal_canvases(pictures), step=step)

    def keep(self, name: str, files: Sequence[Path]) -> None:
        self.attempt("an artifact", lambda: self._keep(name, files))

    def end(self) -> None:
        self._failures = 0  # or the next job would go on with this run, whatever failed before
        self.attempt("its end", self.run.finish)

    def _keep(self, name: str, files: Sequence[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(name, type="model")
        for file in files:
            artifact.add_file(str(file))
        self.run.log_artifact(artifact, aliases=["latest", self.run.id])

    def _as_tables(self, tables: Mapping[str, Sequence[Sequence[Any]]]) -> dict[str, Any]:
        import wandb

        return {key: wandb.Table(columns=list(rows[0]), data=[list(row) for row in rows[1:]])
                for key, rows in tables.items()}  # fmt: skip


class TensorBoardTracker(Tracker, TensorBoardLogger):
    """Event files under tensorboard/ in the run's folder; steps: how many a run that goes on has done."""

    title = "TensorBoard"

    def __init__(self, folder: Path, steps: int = 0) -> None:
        again: dict[str, Any] = {"purge_step": steps} if steps else {}  # later steps will come again
        TensorBoardLogger.__init__(self, folder, "tensorboard", "", default_hp_metric=False, **again)

    @rank_zero_only
    def log_metrics(self, metrics: Numbers, step: int | None = None) -> None:
        """Plain numbers as they are; those of single classes as one text a task and split."""
        plain, tables = parted(metrics)
        write = super().log_metrics
        self.attempt("a step", lambda: write(plain, step))
        for key, rows in tables.items():
            self._write_text(key, rows, step)

    @rank_zero_only
    def save(self) -> None:
        """Puts what is waiting on the disk."""
        self.attempt("saving", self._flush)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """As `save`: the evaluation is still to come."""
        self.save()

    def tell(self, facts: Mapping[str, Any]) -> None:
        self._write_text("config", [("key", "value"), *flat(facts).items()], 0)

    def sum_up(self, numbers: Mapping[str, float]) -> None:
        self._write_text("summary", [("number", "value"), *numbers.items()], 0)

    def show(self, key: str, pictures: Sequence[Image], step: int) -> None:
        panels = [np.asarray(picture.convert("RGB")) for picture in on_equal_canvases(pictures)]
        if panels:
            self.attempt(
                "a gallery", lambda: self.experiment.add_images(key, np.stack(panels), step, dataformats="NHWC")
            )

    def end(self) -> None:
        self._failures = 0  # its files are to be closed, whatever failed before
        self.attempt("its end", self._close)

    def _write_text(self, key: str, rows: Sequence[Sequence[Any]], step: int | None) -> None:
        self.attempt("a table", lambda: self.experiment.add_text(key, in_markdown(rows), step))

    def _flush(self) -> None:
        self.experiment.flush()

    def _close(self) -> None:
        self.experiment.close()


def parted(metrics: Numbers) -> tuple[dict[str, Any], dict[str, list[list[Any]]]]:
    """Numbers of the whole, and those of single classes or kinds as tables by key, the first row the heading."""
    plain: dict[str, Any] = {}
    parts: dict[str, dict[str, dict[str, Any]]] = {}
    for name, value in metrics.items():
        score = parse_score(name)
        if score is None or not score.category:
            plain[name] = value
        else:
            parts.setdefault(_table_key(score), {}).setdefault(score.category, {})[score.measure] = value
    return plain, {key: _rows(own) for key, own in parts.items()}


def _table_key(score: ScoreName) -> str:
    return "/".join(word for word in ("tables", score.task, score.split) if word)


def _rows(parts: Mapping[str, Mapping[str, Any]]) -> list[list[Any]]:
    measures = list(dict.fromkeys(measure for values in parts.values() for measure in values))
    rows = [[name, *(_plain(values.get(measure)) for measure in measures)] for name, values in parts.items()]
    return [["name", *measures], *rows]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def in_markdown(rows: Sequence[Sequence[Any]]) -> str:
    """A table of which the first row is the heading."""
    lines = [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join([lines[0], " | ".join("---" for _ in rows[0]), *lines[1:]])


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
        found |= inner
    return found


def on_equal_canvases(pictures: Sequence[Image]) -> list[Image]:
    """Pictures with white added right and below, all of one size: a gallery of different ones is shown wrongly."""
    from PIL import Image

    size = (max((one.width for one in pictures), default=0), max((one.height for one in pictures), default=0))
    canvases = [Image.new("RGB", size, "white") for _ in pictures]
    for canvas, picture in zip(canvases, pictures, strict=True):
        canvas.paste(picture, (0, 0))
    return canvases


def begin_wandb(folder: Path, mode: Literal["online", "offline"], settings: Mapping[str, Any]) -> WandbTracker:
    """Starts a run, or goes on with that of `settings["id"]`; a service that can't be reached raises after a while."""
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    limits = {"init_timeout": START_SECONDS, "finish_timeout": UPLOAD_SECONDS}
    known = {name: value for name, value in limits.items() if name in wandb.Settings.model_fields}
    return WandbTracker(
        wandb.init(
            dir=str(folder), mode=mode, resume="allow" if mode == "online" else None,
            settings=wandb.Settings(**known), **settings,
        )
    )  # fmt: skip


def abandon_wandb() -> None:
    """Forgets a run that could not begin, or its id would be taken in this process."""
    import wandb

    wandb.teardown()


def line_of(error: Exception) -> str:
    """What an error says first, with its kind."""
    text = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
