"""Which logged numbers share a chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median

from glipv2.report.curves import line_chart
from glipv2.report.markup import Markup, element, join
from glipv2.report.measures import task_title
from glipv2.report.run import Curve, RunFolder
from glipv2.report.scores import RATE, ScoreName, is_defined, parsed, task_order, titled

LOSS = "train/loss"
LOG_SPREAD = 30.0  # a loss that falls by more than this factor is only readable on a logarithmic axis
CURVE_ORDER = {"box_ap": 0, "mask_ap": 1, "box_ap_50": 2, "box_ap_75": 3}  # what the AP chart shows
NORMS, SPEED, WAITING = "gradients/", "time/images_per_second", "time/data_wait"  # how training logs them
MOST_TERMS = 12  # of which every choice is tried
Charts = list[Markup | None]
EXACT = 1e-3  # relative: how well terms add up in single precision, written with few digits


def run_charts(run: RunFolder) -> Markup:
    """Loss terms, scores over steps, learning rate and everything else of training; says so when there are none.

    Where several tasks were trained each has charts of its own, under its name.
    """
    if not run.curves:
        return element("p", "No curves: metrics.csv is absent, empty or broken.", class_="absent")
    tasks = trained_tasks(run.curves)
    names = [name for name in run.curves if name.startswith("train/") and name.split("/")[1] not in tasks]
    rates = {name.removeprefix(RATE): run.curves[name] for name in rate_names(run.curves)}
    scored = task_order(run.curves)
    order = dict.fromkeys([*task_order(run.metrics), *scored, *tasks])  # a CSV file's columns are in alphabetical order
    parted = [task for task in order if task in {*scored, *tasks}] if len({*scored, *tasks}) > 1 else []
    whole, others = _training_charts(run, names, LOSS)
    charts = [*whole, *([] if parted else _score_charts(run, scored)), _rate_chart(rates), *others, *_monitors(run)]
    parts = [_grid(charts)]
    for task in parted:
        start = f"train/{task}/"
        own, others = _training_charts(run, [name for name in run.curves if name.startswith(start)], f"{start}loss")
        parts += [element("h3", task_title(task)), _grid([*_score_charts(run, [task]), *own, *others])]
    return join(parts)


def _monitors(run: RunFolder) -> list[Markup | None]:
    """Gradients and speed, where they were measured."""
    norms = {name.partition("/")[2]: curve for name, curve in run.curves.items() if name.startswith(NORMS)}
    norms = {name: norms[name] for name in sorted(norms, key=lambda name: name != "all")}
    speed = {"images/s": run.curves[SPEED]} if SPEED in run.curves else {}
    waiting = {"share of the time": run.curves[WAITING]} if WAITING in run.curves else {}
    charts = [_chart(speed, "Images a second"), _chart(waiting, "Waiting for data")]
    return [_loss_chart(norms, "Norm of the gradient, before clipping"), *charts]


def trained_tasks(curves: Mapping[str, Curve]) -> list[str]:
    """The tasks that logged loss terms of their own: "train/<task>/<term>"."""
    return list(dict.fromkeys(words[1] for name in curves if len(words := name.split("/")) > 2 and words[0] == "train"))


def _grid(charts: Sequence[Markup | None]) -> Markup:
    return element("div", *(chart for chart in charts if chart), class_="charts")


def _training_charts(
    run: RunFolder, names: Sequence[str], loss: str
) -> tuple[list[Markup | None], list[Markup | None]]:
    """The chart of a loss with its terms among `names`, and those of the other numbers."""
    start = loss.removesuffix("loss")
    terms = loss_terms({name: run.curves[name] for name in names}, loss)
    title = "Training loss and its terms" if len(terms) > 1 else "Training loss"
    whole = _loss_chart({name.removeprefix(start): run.curves[name] for name in terms}, title)
    others = {name.removeprefix(start): run.curves[name] for name in names if name not in terms}
    charts = [_chart({name: curve}, name.replace("_", " ").capitalize()) for name, curve in others.items()]
    return [whole], charts


def overlaid_charts(runs: Mapping[str, RunFolder]) -> Markup:
    """The loss, each AP and the learning rate of several runs by name, one line a run."""
    charts = [_loss_chart(_curves_of(runs, LOSS), "Training loss")]
    scores: dict[str, ScoreName] = {}
    for run in runs.values():
        scores |= {name: score for name, score in parsed(run.curves).items() if not score.category}
    tasks = task_order(scores)
    for name, score in scores.items():
        if score.is_main or not (score.kind or score.known):
            series = {key: shown_curve(score, curve) for key, curve in _curves_of(runs, name).items()}
            split = score.split or next(iter(runs.values())).split
            charts.append(line_chart(series, f"{titled(score, tasks)}, {split}", from_zero=score.is_share))
    first_rates = {key: run.curves[names[0]] for key, run in runs.items() if (names := rate_names(run.curves))}
    charts.append(_rate_chart(first_rates))
    shown = [chart for chart in charts if chart]
    if not shown:
        return element("p", "No curves: no run holds a metrics.csv that could be read.", class_="absent")
    return element("div", *shown, class_="charts")


def loss_terms(curves: Mapping[str, Curve], loss: str = LOSS) -> list[str]:
    """The loss and the names of its terms: what training logged beside it and adds up to it.

    Terms are not negative, so a number above the loss (regions matched, a norm) is none and would flatten
    them all. Where no choice of the others adds up, all of them are taken for terms.
    """
    bound = {step: value for step, value in curves.get(loss, ()) if math.isfinite(value)}
    start = loss.removesuffix("loss")
    beside = [name for name in curves if name.startswith(start) and name != loss]
    below = [name for name in beside if _stays_below(bound, curves[name])]
    chosen = _adding_up(bound, {name: dict(curves[name]) for name in below}) or below
    return [name for name in curves if name == loss or name in chosen]


def _adding_up(bound: Mapping[float, float], terms: Mapping[str, Mapping[float, float]]) -> tuple[str, ...]:
    """The largest choice of `terms` that sums up to `bound` at most of the steps where all were logged."""
    steps = [step for step in bound if all(math.isfinite(curve.get(step, math.nan)) for curve in terms.values())]
    if not steps or len(terms) > MOST_TERMS:
        return ()
    steps = steps[:: max(1, len(steps) // 40)]
    for count in range(len(terms), 0, -1):
        for names in combinations(terms, count):
            gaps = [abs(sum(terms[name][step] for name in names) - bound[step]) for step in steps]
            if median(gap / max(abs(bound[step]), 1e-12) for gap, step in zip(gaps, steps, strict=True)) < EXACT:
                return names
    return ()


def _stays_below(bound: Mapping[float, float], curve: Curve) -> bool:
    """Whether no finite value is above the bound of its step, but for rounding."""
    return all(value <= bound.get(step, math.inf) * (1 + 1e-6) for step, value in curve if math.isfinite(value))


def rate_names(curves: Mapping[str, Curve]) -> list[str]:
    """The learning rates, one a parameter group where groups differ."""
    return [name for name in curves if name.startswith(RATE)]


def shown_curve(score: ScoreName, curve: Curve) -> list[tuple[float, float]]:
    """A score's curve as it is printed: shares times 100, undefined values as gaps."""
    factor = 100.0 if score.is_share else 1.0
    return [(step, factor * value if is_defined(score, value) else math.nan) for step, value in curve]


def _score_charts(run: RunFolder, tasks: Sequence[str]) -> list[Markup | None]:
    """All AP of the tasks in one chart, measures that belong together in one, any unknown one in its own."""
    shares: dict[str, list[tuple[float, float]]] = {}
    together: dict[str, dict[str, list[tuple[float, float]]]] = {}
    charts: list[Markup | None] = []
    scores = [(name, score) for name, score in parsed(run.curves).items() if score.task in tasks and not score.category]
    for name, score in sorted(scores, key=lambda item: _curve_place(item[1])):
        label = f"{score.title}, {score.split or run.split}"
        if score.measure in CURVE_ORDER:
            shares[label] = shown_curve(score, run.curves[name])
        elif score.known:
            together.setdefault(score.known.chart, {})[label] = shown_curve(score, run.curves[name])
        elif not score.kind:
            charts.append(_chart({label: run.curves[name]}, score.title))
    grouped = [line_chart(series, title, from_zero=True) for title, series in together.items() if title]
    first = [line_chart(shares, "Average precision", from_zero=True)] if shares else []
    return [*first, *grouped, *charts]


def _curve_place(score: ScoreName) -> tuple[int, str, int]:
    """By measure, then by split; what a score is held against after it."""
    return CURVE_ORDER.get(score.measure, 99), score.split, 99 if score.place is None else score.place


def _loss_chart(series: Mapping[str, Curve], title: str) -> Markup | None:
    values = [value for curve in series.values() for _, value in curve if math.isfinite(value)]
    if not values:
        return None
    log = min(values) > 0 and max(values) > LOG_SPREAD * median(values)
    words = title + " (logarithmic)" if log else title
    return line_chart(series, words, smooth=True, log_y=log, from_zero=min(values) >= 0)


def _chart(series: Mapping[str, Curve], title: str) -> Markup | None:
    return line_chart(series, title, smooth=True, from_zero=True) if series else None


def _rate_chart(series: Mapping[str, Curve]) -> Markup | None:
    return line_chart(series, "Learning rate", from_zero=True) if series else None


def _curves_of(runs: Mapping[str, RunFolder], name: str) -> dict[str, Curve]:
    return {key: run.curves[name] for key, run in runs.items() if name in run.curves}
