"""The numbers that are told when a run ends: a row a task, on a terminal as a table, elsewhere as plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from glipv2.report.measures import task_title
from glipv2.report.scores import MAIN_SPLIT, ScoreName, is_defined, scored_splits, show_score

NUMBER = re.compile(r"[-–\d.,]*")
HEADING = ("task", "split", "number", "value", "baseline", "besides")


def summary_rows(headlines: Mapping[str, Sequence[str]], scores: Mapping[str, float]) -> list[list[str]]:
    """A heading, then a row for each task and split that was scored; columns that say nothing are left out.

    headlines: by task the measure it is judged by, then those told beside it.
    """
    splits = scored_splits(scores)
    rows = [list(HEADING)]
    for task, (main, *others) in headlines.items():
        for split in splits:
            score = ScoreName(task, split, main, "")
            if score.key in scores:
                own = [replace(score, measure=measure) for measure in others]
                value = show_score(score, scores[score.key])
                besides = [_told(score.baselines, scores), _told(own, scores)]
                rows.append([task_title(task), split or MAIN_SPLIT, score.title, value, *besides])
    needed = [place for place, name in enumerate(HEADING) if _says_something(name, [row[place] for row in rows[1:]])]
    return [[row[place] for place in needed] for row in rows]


def show_rows(rows: Sequence[Sequence[str]], console: Console | None = None) -> None:
    """Prints rows, the first as heading."""
    console = console or Console()
    if not console.is_terminal:
        console.file.write(f"{aligned(rows)}\n")
        return
    table = Table(*rows[0])
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table, highlight=False)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of text with columns one below the other, numbers to the right; the first row is the heading."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    spelled = [str.rjust if all(map(NUMBER.fullmatch, column[1:])) else str.ljust for column in columns]
    return "\n".join(
        "  ".join(spell(cell, width) for spell, cell, width in zip(spelled, row, widths, strict=True)).rstrip()
        for row in rows
    )


def _told(own: Sequence[ScoreName], scores: Mapping[str, float]) -> str:
    """ "Recall@5 61.2, Recall@10 70.0": those that were taken."""
    known = [(score, scores[score.key]) for score in own if score.key in scores]
    return ", ".join(f"{score.title} {show_score(score, value)}" for score, value in known if is_defined(score, value))


def _says_something(name: str, cells: Sequence[str]) -> bool:
    return any(cell != MAIN_SPLIT for cell in cells) if name == "split" else any(cells)
