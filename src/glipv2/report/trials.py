"""A sweep on the page: the best trial with its command line, what was tried, and what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glipv2.report.cards import headline_scores
from glipv2.report.comparison import differing_keys
from glipv2.report.markup import Markup, element, join
from glipv2.report.measures import task_title
from glipv2.report.parallel import Trial, parallel_coordinates
from glipv2.report.run import RunFolder, is_run, natural
from glipv2.report.scores import ScoreName, is_defined, show_score, show_seconds
from glipv2.report.seeds import BY_CHANCE
from glipv2.report.sweep import last_word, swept_keys
from glipv2.report.tables import sheet

MOST_AXES = 8
SHORT_NAME = 60  # characters


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder.

    keys: what it varies, () where that is not known; empty: folders of trials that left nothing.
    """

    path: Path
    keys: tuple[str, ...]
    trials: tuple[Path, ...]
    empty: tuple[str, ...]


def read_sweep(folder: Path) -> Sweep | None:
    """None for a folder that is no sweep's."""
    keys = swept_keys(folder)
    if keys is None or is_run(folder):
        return None
    inside = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: natural(path.name))
    places = [path for path in inside if not path.name.startswith(".")]
    trials = [path for path in places if is_run(path)]
    trials += [inner for path in places if path not in trials for inner in sorted(path.iterdir()) if is_run(inner)]
    used = {*trials, *(path.parent for path in trials)}
    return Sweep(folder, keys, tuple(trials), tuple(path.name for path in places if path not in used))


def trial_names(runs: Sequence[RunFolder], sweep: Sweep) -> dict[str, RunFolder]:
    """Trials by their folder and what was varied: "3: lr=0.001 seed=2"."""
    named = {}
    for run in runs:
        told = [f"{last_word(key, sweep.keys)}={_few_digits(value)}"
                for key, value in zip(sweep.keys, values_of(run, sweep.keys), strict=True) if value]  # fmt: skip
        folder = run.path.relative_to(sweep.path).as_posix()
        named[f"{folder}: {' '.join(told)}"[:SHORT_NAME] if told else folder] = run
    return named


def values_of(run: RunFolder, keys: Sequence[str]) -> tuple[str, ...]:
    """What a trial was given for each key: by its command, else by its config; "" where that is not known."""
    try:
        words = shlex.split(run.command)
    except ValueError:
        words = []
    given = dict(word.lstrip("+").partition("=")[::2] for word in words if "=" in word)
    return tuple(given.get(key, _configured(run, key)) for key in keys)


def _configured(run: RunFolder, key: str) -> str:
    value: object = run.config
    for word in key.split("."):
        value = value.get(word) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        value = value.get("name")
    return "" if value is None else str(value)


def objective(runs: Mapping[str, RunFolder]) -> ScoreName | None:
    """The number that heads the page of most trials, by which they are ordered; None where none was scored."""
    first = [scores[0] for run in runs.values() if (scores := headline_scores(run.metrics))]
    return max(first, key=lambda score: sum(own == score for own in first), default=None)


def varied_keys(runs: Mapping[str, RunFolder], sweep: Sweep | None) -> list[str]:
    """Keys worth an axis: those that are swept over, else those that differ, but for names and folders."""
    if sweep and sweep.keys:
        return list(sweep.keys)[:MOST_AXES]
    if not all(run.config for run in runs.values()):
        return []
    known = [key for key in differing_keys(runs) if key == "seed" or not key.startswith(BY_CHANCE)]
    return known[:MOST_AXES]


def sweep_section(runs: Mapping[str, RunFolder], sweep: Sweep | None) -> Markup:
    """The best trial, the picture, and the table; "" where nothing varies."""
    keys, score = varied_keys(runs, sweep), objective(runs)
    if not keys:
        return Markup()
    results = {name: _result(run, score) for name, run in runs.items()}
    trials = [Trial(name, values_of(run, keys), results[name]) for name, run in runs.items()]
    title = _title(score)
    known = {name: result for name, result in results.items() if result is not None}
    parts = [_best(runs, known, score)] if score and known else []
    if not known:
        parts.append(element("p", "No trial has come to a score yet.", class_="absent"))
    drawn = element("div", parallel_coordinates([last_word(key, keys) for key in keys], trials, title), class_="wide")
    parts += [drawn, element("p", _telling(len(runs), len(known)), class_="soft"), _table(runs, keys, results, score)]
    if sweep and sweep.empty:
        parts.append(element("p", f"Left nothing: {', '.join(sweep.empty)}.", class_="absent"))
    return join(parts)


def _title(score: ScoreName | None) -> str:
    if score is None:
        return "score"
    return score.title if score.measure == "mean" else f"{task_title(score.task)}: {score.title}"


def _telling(count: int, finished: int) -> str:
    told = "A line is a trial; the better it is the stronger, the best is drawn apart. Point at one for its name."
    return told if count == finished else f"{told} {count - finished} of {count} have no score: dashed."


def _result(run: RunFolder, score: ScoreName | None) -> float | None:
    """As it is printed: a share times 100."""
    value = run.metrics.get(score.key) if score else None
    if score is None or value is None or not is_defined(score, value):
        return None
    return 100 * value if score.is_share else value


def best_trial(runs: Mapping[str, RunFolder]) -> str | None:
    """The name of the trial with the best result; None where none has any."""
    score = objective(runs)
    known = {name: result for name, run in runs.items() if (result := _result(run, score)) is not None}
    return max(known, key=lambda name: known[name], default=None)


def _best(runs: Mapping[str, RunFolder], results: Mapping[str, float], score: ScoreName) -> Markup:
    name = max(results, key=lambda own: results[own])
    run = runs[name]
    shown = element("div", show_score(score, run.metrics[score.key]), class_="value")
    title = element("h3", f"Best {_title(score)}")
    heading = element("div", title, shown, element("div", name, class_="beside"), class_="card hero")
    command = run.command or "its command is not known: environment.json is absent or broken"
    said = element(
        "div", element("h4", "The best trial again"), element("pre", command, class_="command"), class_="again"
    )
    return element("div", heading, said, class_="winner")


def _table(
    runs: Mapping[str, RunFolder], keys: Sequence[str], results: Mapping[str, float | None], score: ScoreName | None
) -> Markup:
    heads = [
        _heading("Trial", ""),
        *(_heading(key, "") for key in keys),
        _heading(_title(score), "number", "descending"),
    ]
    heads += [element("td"), _heading("Time", "number"), element("th", "State", scope="col")]
    most = max((result for result in results.values() if result is not None), default=0.0)
    rows = []
    for name in sorted(runs, key=lambda own: -math_or_low(results[own])):
        run, result = runs[name], results[name]
        seconds = run.metrics.get("run/seconds")
        shown = show_score(score, run.metrics.get(score.key)) if score else "–"
        bar = element("i", style=f"width:{100 * result / most:.1f}%") if result and most > 0 and result > 0 else ""
        cells = [element("td", _few_digits(value) or "–") for value in values_of(run, keys)]
        cells += [
            element("td", shown, class_="number", data_value=f"{math_or_low(result):g}"),
            element("td", bar, class_="bar narrow"),
            element(
                "td",
                "–" if seconds is None else show_seconds(seconds),
                class_="number",
                data_value=f"{seconds or -1:g}",
            ),
            element("td", run.state),
        ]
        rows.append(element("tr", element("th", name.partition(":")[0], scope="row"), *cells))
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="sortable many")
    return sheet(table, "trials")


def math_or_low(result: float | None) -> float:
    """A result to sort by: those without one come last."""
    return -1.0 if result is None else result


def _heading(title: str, class_: str, order: str | None = None) -> Markup:
    button = element("button", title, type="button")
    return element("th", button, scope="col", class_=class_ or None, aria_sort=order)


def _few_digits(value: str) -> str:
    """A drawn number in few digits; whole numbers and words as they are."""
    try:
        return value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
    except ValueError:
        return value


def sweeps_among(paths: Sequence[Path]) -> tuple[list[Path], Sweep | None]:
    """The runs of all paths, sweeps replaced by their trials; and the sweep where nothing else was given."""
    runs: list[Path] = []
    sweeps: list[Sweep] = []
    for path in paths:
        sweep = read_sweep(path) if path.is_dir() else None
        if sweep is None:
            runs.append(path)
        else:
            sweeps.append(sweep)
            runs += sweep.trials
    return runs, sweeps[0] if len(sweeps) == len(paths) == 1 else None
