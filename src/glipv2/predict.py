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
from glipv2.data.prompts import names_in_text
from glipv2.inference import Predictor
from glipv2.runs import output_folder, write_json
from glipv2.structures import Detections

ROWS = 40  # of the table printed; the files hold everything


def predict(config: PredictConfig) -> list[Detections]:
    """Writes `output`/predictions.json and one picture an image; nothing at all when an image is broken."""
    config.check()
    names = names_in_text(config.text)
    paths = image_paths(config.images)
    predictor = Predictor.load(config.weights, config.device)
    output = Path(config.output)
    with output_folder(output):
        partial = output / ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            found = _write_all(predictor, paths, names, partial, config)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _move_into(partial, output)
    console = Console()
    console.print(_table(paths, found))
    console.print(f"written to {output}: predictions.json{' and pictures' if config.draw else ''}", highlight=False)
    return found


def _write_all(
    predictor: Predictor, paths: Sequence[Path], names: Sequence[str], folder: Path, config: PredictConfig
) -> list[Detections]:
    found: list[Detections] = []
    records: list[dict[str, Any]] = []
    starts = range(0, len(paths), config.batch_size)
    for start in track(starts, description="predicting", disable=len(starts) < 2, transient=True):
        chunk = paths[start : start + config.batch_size]
        pictures = [read_image(path) for path in chunk]
        results = predictor.detect(pictures, names, threshold=config.threshold, batch_size=config.batch_size)
        for index, (path, picture, result) in enumerate(zip(chunk, pictures, results, strict=True), start=start + 1):
            records += [{**record, "file_name": path.name} for record in result.to_coco(index)]
            if config.draw:
                result.draw(picture).save(folder / f"{path.stem}_{index}.png")
        found += results
    images = [
        {"id": index, "file_name": path.name, "height": result.image_size[0], "width": result.image_size[1]}
        for index, (path, result) in enumerate(zip(paths, found, strict=True), start=1)
    ]
    categories = [{"id": index, "name": name} for index, name in enumerate(names, start=1)]
    write_json(folder / "predictions.json", {"images": images, "categories": categories, "annotations": records})
    return found


def _move_into(partial: Path, output: Path) -> None:
    """Puts finished files into place; files of other names already there stay."""
    for path in sorted(partial.iterdir()):
        os.replace(path, output / path.name)
    partial.rmdir()


def _table(paths: Sequence[Path], found: Sequence[Detections]) -> Table:
    total = sum(len(result) for result in found)
    table = Table(title=f"{total} objects in {len(paths)} images")
    for heading in ("image", "name", "score", "box (x1, y1, x2, y2)"):
        table.add_column(heading)
    rows = [
        (path.name, name, f"{score:.3f}", ", ".join(f"{value:.0f}" for value in box))
        for path, result in zip(paths, found, strict=True)
        for name, score, box in zip(result.names, result.scores.tolist(), result.boxes.tolist(), strict=True)
    ]
    for row in rows[:ROWS]:
        table.add_row(*row)
    if len(rows) > ROWS:
        table.add_row("…", f"{len(rows) - ROWS} more in predictions.json", "", "")
    return table
