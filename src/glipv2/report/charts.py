"""Which logged numbers share a chart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

from glipv2.report.curves import line_chart
from glipv2.report.markup import Markup, element
from glipv2.report.run import Curve, RunFolder
from glipv2.report.scores import RATE, ScoreName, is_defined, parsed

LOSS = "train/loss"
LOG_SPREAD = 30.0  # a loss that falls by more than this factor is only readable on a logarithmic axis
CURVE_ORDER = {"box_ap": 0, "mask_ap": 1, "box_ap_50": 2, "box_ap_75": 3}  # what the AP chart shows


def run_charts(run: RunFolder) -> Markup:
    """Loss terms, scores over steps, learning rate and everything else of training; says so when there are none."""
    if not run.curves:
        return element("p", "No curves: metrics.csv is absent, empty or broken.", class_="absent")
    terms = loss_terms(run.curves)
    charts = [
        _loss_chart({name.removeprefix("train/"): run.curves[name] for name in terms}, "Training loss and its terms"),
        *_score_charts(run),
        _rate_chart({name.removeprefix(RATE): run.curves[name] for name in rate_names(run.curves)}),
    ]
    charts += [
        _chart({name.removeprefix("train/"): curve}, name.removeprefix("train/").replace("_", " ").capitalize())
        for name, curve in run.curves.items()
        if name.startswith("train/") and name not in terms
    ]
    return element("div", *(chart for chart in charts if chart), class_="charts")


def overlaid_charts(runs: Mapping[str, RunFolder]) -> Markup:
    """The loss, each AP and the learning rate of several runs by name, one line a run."""
    charts = [_loss_chart(_curves_of(runs, LOSS), "Training loss")]
    scores: dict[str, ScoreName] = {}
    for run in runs.values():
        scores |= {name: score for name, score in parsed(run.curves).items() if not score.category}
    for name, score in scores.items():
        if score.measure in ("box_ap", "mask_ap") or not score.is_share:
            series = {key: shown_curve(score, curve) for key, curve in _curves_of(runs, name).items()}
            split = score.split or next(iter(runs.values())).split
            charts.append(line_chart(series, f"{score.title}, {split}", from_zero=score.is_share))
    first_rates = {key: run.curves[names[0]] for key, run in runs.items() if (names := rate_names(run.curves))}
    charts.append(_rate_chart(first_rates))
    shown = [chart for chart in charts if chart]
    if not shown:
        return element("p", "No curves: no run holds a metrics.csv that could be read.", class_="absent")
    return element("div", *shown, class_="charts")


def loss_terms(curves: Mapping[str, Curve]) -> list[str]:
    """The loss and the names of its terms: what training logged that never exceeds it.

    Terms are not negative and sum up to the loss, so a number above it (regions matched, a norm) is
    no term and would flatten them all.
    """
    bound = {step: value for step, value in curves.get(LOSS, ()) if math.isfinite(value)}
    return [
        name
        for name, curve in curves.items()
        if name == LOSS or (name.startswith("train/") and _stays_below(bound, curve))
    ]


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


def _score_charts(run: RunFolder) -> list[Markup | None]:
    """All AP in one chart, any other measure in its own."""
    shares: dict[str, list[tuple[float, float]]] = {}
    charts: list[Markup | None] = []
    scores = [(name, score) for name, score in parsed(run.curves).items() if not score.category]
    for name, score in sorted(scores, key=lambda item: (CURVE_ORDER.get(item[1].measure, 99), item[1].split)):
        label = f"{score.title}, {score.split or run.split}"
        if score.measure in CURVE_ORDER:
            shares[label] = shown_curve(score, run.curves[name])
        elif not score.is_share:
            charts.append(_chart({label: run.curves[name]}, score.title))
    if shares:
        charts.insert(0, line_chart(shares, "Average precision", from_zero=True))
    return charts


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
