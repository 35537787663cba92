"""metrics.csv: a run's numbers by step, safe from being killed, and cut back to where a run goes on."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from glipv2.runs import write_text

FILE = "metrics.csv"


class CurvesLogger(Logger):
    """Appends whole rows; where a new column comes the file is replaced at once, never written over in place.

    steps: how many a run that goes on has done. Rows of later ones are taken out of a file that is already there,
    since they will come again; 0 keeps nothing of it.
    """

    def __init__(self, folder: Path, steps: int = 0, every: int = 100) -> None:
        super().__init__()
        self._folder, self._every = folder, every
        self._file = RowsFile(folder / FILE)
        if getattr(rank_zero_only, "rank", 0) == 0:
            folder.mkdir(parents=True, exist_ok=True)
            self._file.cut(steps)

    @property
    def name(self) -> str:
        """None of its own: the run has one."""
        return ""

    @property
    def version(self) -> str:
        """See `name`."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self._folder)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """A row; it is on the disk after at most `every` more steps, or with the next checkpoint."""
        row = {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
        self._file.rows.append({**row, "step": step})
        if step is not None and (step + 1) % self._every == 0:
            self.save()

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def save(self) -> None:
        """Writes the rows that are waiting."""
        self._file.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """As `save`."""
        self.save()


class RowsFile:
    """A CSV file that grows by rows and sometimes by columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._columns: list[str] = []

    def save(self) -> None:
        """Appends the waiting rows."""
        new = set().union(*self.rows) - set(self._columns) if self.rows else set()
        if new:
            earlier = read_rows(self.path)
            self._columns = sorted({*self._columns, *new})
            write_text(self.path, _text(self._columns, [*earlier, *self.rows], header=True))
        elif self.rows:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(_text(self._columns, self.rows, header=False))
        self.rows = []
        self._sync()

    def cut(self, steps: int) -> None:
        """Keeps the rows of the first steps and the columns that these have; a line cut short goes too."""
        earlier = [row for row in read_rows(self.path) if int(row["step"]) < steps]
        self._columns = sorted({name for row in earlier for name, value in row.items() if value != ""})
        if earlier:
            write_text(self.path, _text(self._columns, earlier, header=True))
        else:
            self.path.unlink(missing_ok=True)

    def _sync(self) -> None:
        if self.path.is_file():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())


def read_rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a curves file, [] where there is none; a line cut short is left out."""
    if not path.is_file():
        return []
    text = path.read_text("utf-8")
    lines = text.splitlines()
    if text and not text.endswith("\n"):
        lines.pop()
    rows = csv.DictReader(lines)
    return [row for row in rows if None not in row.values() and row.get("step", "").isdigit()]


def _text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, header: bool) -> str:
    written = io.StringIO()
    writer = csv.DictWriter(written, columns, restval="", lineterminator="\n", extrasaction="ignore")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()
