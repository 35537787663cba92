"""`glipv2 predict`: names in pictures, as JSON, annotated pictures and a table.

Pictures are read and resized in loader processes, results drawn and written in a thread, while the model works. What
is done is on the disk batch by batch: the same command goes on where a killed one stopped.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Self

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from glipv2.arithmetic import pick_device
from glipv2.checkpoints import weights_file
from glipv2.config import PredictConfig
from glipv2.data.images import image_paths
from glipv2.data.unlabelled import PictureBatch, picture_loader
from glipv2.data.videos import is_video
from glipv2.errors import Interrupted, UserError
from glipv2.inference import Predictor
from glipv2.predicted import TOLD, Kept, Summary, as_image, line_of, picture_key, printable
from glipv2.ranks import end_with
from glipv2.runs import output_folder
from glipv2.structures import Prediction, Vocabulary
from glipv2.tiling import tiles_for
from glipv2.unfinished import LineFile
from glipv2.video_prediction import VideoSummary, predict_video

Told = Callable[[int], None]  # is told how many further pictures are done


def predict(config: PredictConfig) -> Summary | VideoSummary:
    """Writes `output`/predictions.json and one picture an image; none of them before all pictures are done.

    Of a video see `predict_video`.
    """
    config.check()
    paths = [] if is_video(config.images) else image_paths(config.images)
    devices = devices_of(config)
    predictor = load_predictor(config, devices[0])
    task = config.task_name or next(iter(predictor.task.subtasks()))
    request = predictor.request(task, config.text)
    if config.tile:
        tiles_for(task, config.tile_setting())
    if config.screen and (task != "detection" or config.tile or not paths):
        raise UserError("screen goes with task=detection and pictures, without tile; leave one of them out")
    if not paths:
        return predict_video(config, predictor, task, request, _content(task, request))
    output = Path(config.output)
    kept = Kept(output)
    with output_folder(output):
        kept.begin(_words(config, task))
        try:
            with _kept_on_failure(kept, len(paths)):
                _work(predictor, task, request, _shares(config, paths, kept, devices))
        except BaseException:
            if not kept.done():
                kept.drop()
            raise
        summary = kept.finish(paths, _content(task, request))
    _tell(summary, output, config)
    return summary


def load_predictor(config: PredictConfig, device: str) -> Predictor:
    """The model that a config asks for."""
    return Predictor.load(
        config.weights, device, precision=config.precision, compile=config.compile, channels_last=config.channels_last
    )


def devices_of(config: PredictConfig) -> list[str]:
    """A device a process; UserError for more than there are."""
    device = pick_device(config.device)
    if config.devices == 1 or device == "cpu":
        return [device] * config.devices
    if torch.device(device).type != "cuda" or torch.device(device).index is not None:
        raise UserError(f"devices={config.devices}: expected device=cuda or cpu to go with it, but got {device}")
    if config.devices > torch.cuda.device_count():
        raise UserError(f"devices={config.devices}: this machine has {torch.cuda.device_count()}")
    return [f"cuda:{index}" for index in range(config.devices)]


def _words(config: PredictConfig, task: str) -> dict[str, Any]:
    """What decides on the result; the pictures may become more or fewer meanwhile."""
    weights = weights_file(config.weights)
    state = weights.stat()
    return {
        "weights": [str(weights.resolve()), state.st_size, state.st_mtime_ns],
        "task": task,
        "text": config.text,
        "threshold": config.threshold,
        "draw": config.draw,
        "precision": config.precision,
        "tile": [config.tile, config.overlap] if config.tile else [],
        "screen": config.screen,
    }


@contextmanager
def _kept_on_failure(kept: Kept, total: int) -> Iterator[None]:
    """Tells with what ends the work what stays of it."""
    try:
        yield
    except KeyboardInterrupt as end:
        done = len(kept.done())
        if not done:
            raise
        raise Interrupted(f"with {done} of {total} pictures done; the same command goes on with the others") from end
    except UserError as error:
        done = len(kept.done())
        if not done:
            raise
        raise UserError(
            f"{error} ({done} of {total} pictures are done and kept in {kept.folder}: the same command goes on with "
            f"the others, on_error=skip leaves out broken ones)"
        ) from error


@dataclass(frozen=True)
class Share:
    """One process's part of the pictures."""

    config: PredictConfig
    paths: tuple[Path, ...]
    lines: Path
    pictures: Path
    device: str


def _shares(config: PredictConfig, paths: Sequence[Path], kept: Kept, devices: Sequence[str]) -> list[Share]:
    """What is left to do, in as many parts as there are devices, each with a picture at least."""
    done = kept.done()
    left = [path for path in paths if str(path) not in done]
    parts = [left[index :: len(devices)] for index in range(len(devices))]
    return [
        Share(config, tuple(part), kept.part(index).path, kept.pictures, device)
        for index, (part, device) in enumerate(zip(parts, devices, strict=True))
        if part
    ]


def _work(predictor: Predictor, task: str, request: Any, shares: Sequence[Share]) -> None:
    """Does all shares, here or in a process each."""
    total = sum(len(share.paths) for share in shares)
    with _progress(total) as told:
        if len(shares) == 1:
            do_share(shares[0], predictor, task, request, told)
        elif shares:
            _in_processes(shares, task, told)


def do_share(share: Share, predictor: Predictor, task: str, request: Any, told: Told) -> None:
    """Predicts and keeps the pictures of a share; UserError for a broken one unless those are skipped."""
    config = share.config
    loader = picture_loader(
        share.paths, predictor.task.model_config.pixels, config.batch_size, config.workers,
        originals=config.draw or config.tile > 0, pinned=predictor.device.type == "cuda",
    )  # fmt: skip
    with Writer(share) as writer:
        for batch in loader:
            if batch.broken and config.on_error == "raise":
                raise UserError(batch.broken[0].fault)
            found = _found(predictor, task, batch, request, config)
            writer.put(batch, [result.above(config.threshold) for result in found])
            told(len(batch.readable) + len(batch.broken))


def _found(
    predictor: Predictor, task: str, batch: PictureBatch, request: Any, config: PredictConfig
) -> Sequence[Prediction]:
    """What is found in the readable pictures of a batch, in tiles besides where these are asked for."""
    if config.tile:
        originals = [read.original for read in batch.readable if read.original is not None]
        return predictor.run(task, originals, request, config.batch_size, config.tile_setting())
    if batch.images is None:
        return []
    return predictor.of_pictures(task, batch.images, batch.truth, request, config.screen)


class Writer:
    """Draws and writes results in a thread of its own. What was put is on the disk when the block ends."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._lines = LineFile(share.lines)
        self._waiting: Queue[tuple[PictureBatch, Sequence[Prediction]] | None] = Queue(maxsize=2)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write_all, name="writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def put(self, batch: PictureBatch, found: Sequence[Prediction]) -> None:
        """Hands on a batch; waits while two others do. Raises what went wrong with an earlier one."""
        if self._error is not None:
            raise self._error
        self._waiting.put((batch, found))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._waiting.put(None)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _write_all(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    self._write(*waiting)
                except BaseException as error:  # goes on in the thread that puts
                    self._error = error

    def _write(self, batch: PictureBatch, found: Sequence[Prediction]) -> None:
        """Pictures first: a line says that everything of its picture is there."""
        lines: list[dict[str, Any]] = []
        for read, result in zip(batch.readable, found, strict=True):
            path = self._share.paths[read.place]
            original = read.original if self._share.config.draw else None
            if original is not None:
                result.draw(as_image(original)).save(self._share.pictures / f"{picture_key(path)}.png")
            lines.append(line_of(path, result, original is not None))
        lines += [{"path": str(self._share.paths[read.place]), "fault": printable(read.fault)} for read in batch.broken]
        self._lines.add(lines)


def _in_processes(shares: Sequence[Share], task: str, told: Told) -> None:
    """One process a share. The first that fails ends the others; what they had written stays."""
    context = multiprocessing.get_context("spawn")
    news: Any = context.Queue()
    threads = max(1, torch.get_num_threads() // len(shares))
    running: list[SpawnProcess] = [
        context.Process(target=_in_process, args=(share, task, threads, news, os.getpid())) for share in shares
    ]
    try:
        for process in running:
            process.start()
        left = len(running)
        while left:
            kind, value = _next(news, running)
            if kind == "pictures":
                told(value)
            elif kind == "end":
                left -= 1
            else:
                raise UserError(value) if kind == "user" else RuntimeError(value)
    finally:
        for process in running:
            if process.is_alive():
                process.terminate()
        for process in running:
            if process.pid is not None:
                process.join()


def _next(news: Any, running: Sequence[SpawnProcess]) -> tuple[str, Any]:
    """What the next process says; RuntimeError when one was killed and can say nothing."""
    while True:
        try:
            message: tuple[str, Any] = news.get(timeout=1)
            return message
        except Empty:
            dead = next((process for process in running if process.exitcode not in (None, 0)), None)
            if dead is not None:
                return "error", f"a process that predicts ended with status {dead.exitcode}"


def _in_process(share: Share, task: str, threads: int, news: Any, parent: int) -> None:
    """The body of a process: loads the model itself and tells what it does, as long as its parent is there."""
    end_with(parent)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(threads)
    try:
        predictor = load_predictor(share.config, share.device)
        request = predictor.request(task, share.config.text)
        do_share(share, predictor, task, request, lambda count: news.put(("pictures", count)))
        news.put(("end", None))
    except UserError as error:
        news.put(("user", str(error)))
    except KeyboardInterrupt:
        return  # the parent is interrupted too, and tells


@contextmanager
def _progress(total: int) -> Iterator[Told]:
    """A bar with pictures done, of how many, and the time that is left; none for a single batch's worth."""
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=total < 2) as progress:
        bar = progress.add_task("predicting", total=total)
        yield lambda count: progress.advance(bar, count)


def _content(task: str, request: Any) -> dict[str, Any]:
    """What predictions.json says besides its pictures."""
    content: dict[str, Any] = {"task": task}
    if isinstance(request, Vocabulary):
        ids_and_names = zip(request.category_ids, request.names, strict=True)
        content["categories"] = [{"id": number, "name": name} for number, name in ids_and_names]
    return content


def _tell(summary: Summary, output: Path, config: PredictConfig) -> None:
    console = Console()
    console.print(_table(summary))
    console.print(f"written to {output}: predictions.json{' and pictures' if config.draw else ''}", highlight=False)
    if summary.skipped:
        path, reason = summary.skipped[0]
        console.print(f"{len(summary.skipped)} broken pictures left out, the first {printable(path.name)}: {reason}")


def _table(summary: Summary) -> Table:
    table = Table(title=f"{summary.findings} findings in {summary.images} images")
    for heading in ("image", "what", "score", "where (x1, y1, x2, y2)"):
        table.add_column(heading)
    for row in summary.rows[:TOLD]:
        table.add_row(*row)
    if summary.findings > len(summary.rows):
        table.add_row("…", f"{summary.findings - len(summary.rows)} more in predictions.json", "", "")
    return table
