"""Several runs side by side: their headline numbers, and where their configs differ."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from glipv2.report.cards import RUN_CARDS, headline_scores, show_fact
from glipv2.report.markup import Markup, element, join
from glipv2.report.measures import task_title
from glipv2.report.run import RunFolder, flat_config
from glipv2.report.scores import MAIN_SPLIT, ScoreName, is_defined, scored_splits, show_score


@dataclass(frozen=True)
class Column:
    """A number of every run: its key in metrics.json, its heading, its spelling, whether the highest is the best.

    task: "" for what is known of the run itself.
    """

    task: str
    key: str
    title: str
    show: Callable[[float], str]
    is_known: Callable[[float], bool]
    ranked: bool


def run_names(runs: Sequence[RunFolder]) -> dict[str, RunFolder]:
    """Runs by the shortest name that tells them apart: the folder's own, or its path below what all share."""
    paths = [run.path.resolve() for run in runs]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        shared = Path(os.path.commonpath([path.parent for path in paths]))
        names = [path.relative_to(shared).as_posix() for path in paths]
    return dict(zip(names, runs, strict=True))


def comparison(runs: Mapping[str, RunFolder]) -> Markup:
    """The table of headline numbers, then that of differing config keys."""
    return join([_number_tables(runs), element("h3", "Where the configs differ"), _config_table(runs)])


def differing_keys(runs: Mapping[str, RunFolder]) -> dict[str, list[str]]:
    """Config keys whose values are not the same in all runs, with the value of each run ("–" where absent).

    The folder, which no two runs share, is left out.
    """
    configs = [flat_config(run.config) for run in runs.values()]
    keys = dict.fromkeys(key for config in configs for key in config if key != "output")
    values = {key: [config.get(key, "–") for config in configs] for key in keys}
    return {key: row for key, row in values.items() if len(set(row)) > 1}


def _columns(runs: Mapping[str, RunFolder]) -> list[Column]:
    columns: dict[str, Column] = {}
    for run in runs.values():
        for score in headline_scores(run.metrics):
            for split in scored_splits(run.metrics) if score.is_main else [score.split]:
                column = _score_column(replace(score, split=split))
                columns.setdefault(column.key, column)
        for key, title in RUN_CARDS.items():
            columns.setdefault(key, Column("", key, title, partial(show_fact, key), math.isfinite, False))
    known = {key for run in runs.values() for key in run.metrics}
    # Scores of all runs before facts about the runs.
    return sorted((column for key, column in columns.items() if key in known), key=lambda c: not c.ranked)


def _score_column(score: ScoreName) -> Column:
    title = f"{score.title}, {score.split or MAIN_SPLIT}" if score.is_main else score.title
    return Column(score.task, score.key, title, lambda v: show_score(score, v), lambda v: is_defined(score, v), True)


def _number_tables(runs: Mapping[str, RunFolder]) -> Markup:
    """One table; or one a task where there are several, of the runs that have its numbers."""
    columns = _columns(runs)
    if not columns:
        return element("p", "No headline numbers: no run holds a metrics.json that could be read.", class_="absent")
    tasks = list(dict.fromkeys(column.task for column in columns))
    if len([task for task in tasks if task]) < 2:
        return _number_table(runs, columns)
    parts = []
    for task in tasks:
        own = [column for column in columns if column.task == task]
        measured = {name: run for name, run in runs.items() if any(column.key in run.metrics for column in own)}
        parts += [element("h3", task_title(task) if task else "Run"), _number_table(measured, own)]
    return join(parts)


def _number_table(runs: Mapping[str, RunFolder], columns: Sequence[Column]) -> Markup:
    best = {column.key: _best(column, runs) for column in columns}
    heads = [element("th", element("button", "Run", type="button"), scope="col")]
    heads += [element("th", element("button", c.title, type="button"), scope="col", class_="number") for c in columns]
    rows = [
        element("tr", element("th", name, scope="row"), *(_cell(run, column, best[column.key]) for column in columns))
        for name, run in runs.items()
    ]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="sortable many")
    return element("div", table, class_="sheet open")


def _best(column: Column, runs: Mapping[str, RunFolder]) -> float | None:
    known = [run.metrics[column.key] for run in runs.values() if column.key in run.metrics]
    known = [value for value in known if column.is_known(value)]
    return max(known) if column.ranked and len(known) > 1 else None


def _cell(run: RunFolder, column: Column, best: float | None) -> Markup:
    value = run.metrics.get(column.key)
    if value is None:
        return element("td", "–", class_="number", data_value="-1")
    classes = "number best" if value == best else "number"
    return element("td", column.show(value), class_=classes, data_value=f"{value:g}", title=f"{value:g}")


def _config_table(runs: Mapping[str, RunFolder]) -> Markup:
    if not all(run.config for run in runs.values()):
        without = [name for name, run in runs.items() if not run.config]
        return element(
            "p", f"Not compared: no config.yaml that could be read in {', '.join(without)}.", class_="absent"
        )
    keys = differing_keys(runs)
    if not keys:
        return element("p", "Nowhere: all runs have the same config.", class_="soft")
    heads = [element("th", "Key", scope="col"), *(element("th", name, scope="col") for name in runs)]
    rows = [
        element("tr", element("th", element("code", key), scope="row"), *(element("td", v, class_="long") for v in row))
        for key, row in keys.items()
    ]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows))
    return element("div", table, class_="sheet open")
