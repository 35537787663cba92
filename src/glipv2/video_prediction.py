"""`glipv2 predict images=clip.mp4`: an annotated video, and a line of JSON for every frame that was looked at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from glipv2.config import PredictConfig
from glipv2.data.videos import Frame, Video, VideoFile, opened_video
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.predicted import as_image
from glipv2.runs import output_folder, write_json
from glipv2.structures import Prediction
from glipv2.tiling import NAMED
from glipv2.unfinished import LineFile

STRIP = 6  # tasks that write below the picture get a strip of this part of its height


@dataclass(frozen=True)
class VideoSummary:
    """frames: of the video; looked_at: on which the model ran; findings: in these."""

    frames: int
    looked_at: int
    findings: int


def predict_video(config: PredictConfig, predictor: Predictor, task: str, request: Any, content: Any) -> VideoSummary:
    """Writes `output`/NAME.mp4 and NAME.jsonl, and what both are about to NAME.json, when all frames are done.

    Of every `config.every` frames the first is looked at; the others show what was found there.
    """
    source, output = Path(config.images).expanduser(), Path(config.output)
    partial = output / ".partial_video"
    with opened_video(source) as video, output_folder(output):
        try:
            shutil.rmtree(partial, ignore_errors=True)  # of a command that was killed
            partial.mkdir()
            summary, size = _work(config, predictor, task, request, video, partial)
            facts = {"file_name": source.name, "height": size[0], "width": size[1], "frames": summary.frames}
            about = {**facts, "rate": float(video.rate), "every": config.every}
            write_json(partial / f"{source.stem}.json", {**content, "video": about})
            for path in partial.iterdir():
                path.replace(output / path.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    _tell(summary, output, source, config)
    return summary


def _work(
    config: PredictConfig, predictor: Predictor, task: str, request: Any, video: Video, folder: Path
) -> tuple[VideoSummary, tuple[int, int]]:
    """Predicts batch by batch; the size (height, width) is that of the video's frames."""
    lines = LineFile(folder / f"{video.path.stem}.jsonl")
    lines.add([])  # a file even of a video in which nothing is found
    frames, looked_at, findings, size = 0, 0, 0, (0, 0)
    shown: Prediction | None = None
    film = VideoFile(folder / f"{video.path.stem}.mp4", video.rate) if config.draw else None
    with _progress(video.count) as bar, closing(film) if film else nullcontext():
        for batch in _batches(video.frames(), config.batch_size * config.every):
            chosen = [frame for frame in batch if frame.number % config.every == 0]
            found = predictor.run(
                task, [frame.pixels for frame in chosen], request, config.batch_size, config.tile_setting()
            )
            results = {
                frame.number: result.above(config.threshold) for frame, result in zip(chosen, found, strict=True)
            }
            lines.add(_line(frame, results[frame.number]) for frame in chosen)
            for frame in batch:
                shown = results.get(frame.number, shown)
                if film is not None and shown is not None:
                    film.add(_drawn(frame, shown, task), frame.seconds)
            frames, looked_at = frames + len(batch), looked_at + len(chosen)
            findings += sum(len(result.lines()) for result in results.values())
            size = (int(batch[0].pixels.shape[1]), int(batch[0].pixels.shape[2]))
            bar.advance(bar.task_ids[0], len(batch))
    if not frames:
        raise UserError(f"{video.path} holds no frame; play it, or convert it to .mp4")
    return VideoSummary(frames, looked_at, findings), size


def _batches(frames: Iterator[Frame], count: int) -> Iterator[list[Frame]]:
    while batch := list(islice(frames, count)):
        yield batch


def _line(frame: Frame, found: Prediction) -> dict[str, Any]:
    """What is kept of a frame; records call it by its number."""
    return {"frame": frame.number, "seconds": round(frame.seconds, 6), "records": found.to_records(frame.number)}


def _drawn(frame: Frame, found: Prediction, task: str) -> np.ndarray[Any, Any]:
    """Frames of one size, though sentences below them may be longer or shorter."""
    picture = np.asarray(found.draw(as_image(frame.pixels)))
    if task in NAMED:
        return picture
    height = frame.pixels.shape[1]
    canvas = np.full((height + height // STRIP, *picture.shape[1:]), 255, np.uint8)
    canvas[: picture.shape[0]] = picture[: canvas.shape[0]]
    return canvas


def _progress(total: int) -> Progress:
    columns: Sequence[Any] = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, transient=True)
    progress.add_task("predicting", total=total or None)
    return progress


def _tell(summary: VideoSummary, output: Path, source: Path, config: PredictConfig) -> None:
    files = ([f"{source.stem}.mp4"] if config.draw else []) + [f"{source.stem}.jsonl", f"{source.stem}.json"]
    Console().print(
        f"{summary.findings} findings in {summary.looked_at} of {summary.frames} frames; "
        f"written to {output}: {', '.join(files)}",
        highlight=False,
    )
