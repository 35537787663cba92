"""`glipv2 predict`: names in pictures, as JSON, annotated pictures and a table."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from glipv2.config import PredictConfig
from glipv2.data.images import image_paths, read_image
from glipv2.inference import Predictor
from glipv2.runs import output_folder, write_json
from glipv2.structures import Prediction, Vocabulary

ROWS = 40  # of the table printed; the files hold everything


def predict(config: PredictConfig) -> list[Prediction]:
    """Writes `output`/predictions.json and one picture an image; nothing at all when an image is broken."""
    paths = image_paths(config.images)
    predictor = Predictor.load(config.weights, config.device)
    name = config.task_name or next(iter(predictor.task.subtasks()))
    request = predictor.request(name, config.text)
    output = Path(config.output)
    with output_folder(output):
        unfinished = output / ".partial"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            found = _write_all(predictor, name, request, paths, unfinished, config)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        _move_into(unfinished, output)
    console = Console()
    console.print(_table(paths, found))
    console.print(f"written to {output}: predictions.json{' and pictures' if config.draw else ''}", highlight=False)
    return found


def _write_all(
    predictor: Predictor, task: str, request: Any, paths: Sequence[Path], folder: Path, config: PredictConfig
) -> list[Prediction]:
    found: list[Prediction] = []
    records: list[dict[str, Any]] = []
    starts = range(0, len(paths), config.batch_size)
    for start in track(starts, description="predicting", disable=len(starts) < 2, transient=True):
        chunk = paths[start : start + config.batch_size]
        pictures = [read_image(path) for path in chunk]
        results = [result.above(config.threshold) for result in predictor.run(task, pictures, request)]
        for index, (path, picture, result) in enumerate(zip(chunk, pictures, results, strict=True), start=start + 1):
            records += [{**record, "file_name": path.name} for record in result.to_records(index)]
            if config.draw:
                result.draw(picture).save(folder / f"{path.stem}_{index}.png")
        found += results
    images = [
        {"id": index, "file_name": path.name, "height": result.image_size[0], "width": result.image_size[1]}
        for index, (path, result) in enumerate(zip(paths, found, strict=True), start=1)
    ]
    content: dict[str, Any] = {"task": task, "images": images, "annotations": records}
    if isinstance(request, Vocabulary):
        ids_and_names = zip(request.category_ids, request.names, strict=True)
        content["categories"] = [{"id": number, "name": name} for number, name in ids_and_names]
    write_json(folder / "predictions.json", content)
    return found


def _move_into(partial: Path, output: Path) -> None:
    """Puts finished files into place; files of other names already there stay."""
    for path in sorted(partial.iterdir()):
        os.replace(path, output / path.name)
    partial.rmdir()


def _table(paths: Sequence[Path], found: Sequence[Prediction]) -> Table:
    rows = [(path.name, *line) for path, result in zip(paths, found, strict=True) for line in result.lines()]
    table = Table(title=f"{len(rows)} findings in {len(paths)} images")
    for heading in ("image", "what", "score", "where (x1, y1, x2, y2)"):
        table.add_column(heading)
    for row in rows[:ROWS]:
        table.add_row(*row)
    if len(rows) > ROWS:
        table.add_row("…", f"{len(rows) - ROWS} more in predictions.json", "", "")
    return table
