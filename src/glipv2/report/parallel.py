"""Parallel coordinates: a line a trial, through what was tried to what came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from glipv2.report.axes import Axis, linear_axis, log_axis, tick_text
from glipv2.report.markup import Markup, element

WIDTH, HEIGHT = 960, 340
TOP, BOTTOM, SIDE = 58, 26, 70
LOG_FROM = 8.0  # largest over smallest value from which an axis counts decades
LONGEST_WORD = 18


@dataclass(frozen=True)
class Trial:
    """What was tried, in the order of the axes, and the number that came of it; None where none did."""

    name: str
    values: tuple[str, ...]
    result: float | None


@dataclass(frozen=True)
class _Column:
    """An axis: of numbers, or of words at even distances; each value's place is 0 at the foot and 1 at the top."""

    title: str
    places: tuple[float | None, ...]
    marks: tuple[tuple[float, str], ...]


def parallel_coordinates(keys: Sequence[str], trials: Sequence[Trial], result: str) -> Markup:
    """An `<svg>`; the better a trial, the stronger its line, and the best in a colour of its own.

    result: the title of the last axis. Trials without a result end before it.
    """
    columns = [_column(key, [trial.values[place] for trial in trials]) for place, key in enumerate(keys)]
    results = ["" if trial.result is None else repr(trial.result) for trial in trials]
    columns.append(_column(result, results, log=False))
    across = [SIDE + place * (WIDTH - 2 * SIDE) / max(1, len(columns) - 1) for place in range(len(columns))]
    order = sorted(range(len(trials)), key=lambda row: (trials[row].result is not None, trials[row].result or 0.0))
    best = order[-1] if order and trials[order[-1]].result is not None else None
    lines = [_line(trials[row], row, columns, across, rank / max(1, len(order) - 1), row == best)
             for rank, row in enumerate(order)]  # fmt: skip
    axes = [
        _axis(column, x, place == len(columns) - 1)
        for place, (column, x) in enumerate(zip(columns, across, strict=True))
    ]
    told = f"{len(trials)} trials over {', '.join(keys)}; best {result}: " + (
        "none" if best is None else f"{trials[best].result:.4g} by {trials[best].name}"
    )
    return element(
        "svg", element("title", "Parallel coordinates"), *lines, *axes, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
        aria_label=told, class_="chart parallel",
    )  # fmt: skip


def _column(title: str, words: Sequence[str], log: bool = True) -> _Column:
    numbers = [_number(word) for word in words]
    if words and all(number is not None for number, word in zip(numbers, words, strict=True) if word):
        known = [number for number in numbers if number is not None]
        if known:
            axis = _axis_of(known, log)
            marks = tuple((axis.place(tick), tick_text(tick)) for tick in axis.ticks)
            return _Column(title, tuple(None if n is None else axis.place(n) for n in numbers), marks)
    names = sorted({word for word in words if word})
    places = {name: (place + 0.5) / len(names) for place, name in enumerate(names)}
    return _Column(title, tuple(places.get(word) for word in words), tuple((places[name], name) for name in names))


def _axis_of(values: Sequence[float], log: bool) -> Axis:
    low, high = min(values), max(values)
    if log and low > 0 and high / low >= LOG_FROM:
        return log_axis(values)
    distinct = sorted(set(values))
    if 1 < len(distinct) <= 6 and log:  # a few choices are marked themselves
        margin = (high - low) * 0.08
        return Axis(low - margin, high + margin, tuple(distinct))
    return linear_axis(values)


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _height(place: float) -> float:
    return HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)


def _line(
    trial: Trial, row: int, columns: Sequence[_Column], across: Sequence[float], rank: float, best: bool
) -> Markup:
    """A smooth line through the axes; it breaks where a value is not known."""
    words: list[str] = []
    before: tuple[float, float] | None = None
    for column, x in zip(columns, across, strict=True):
        place = column.places[row]
        if place is None:
            before = None
            continue
        y = _height(place)
        if before is None:
            words.append(f"M{x:.1f} {y:.1f}")
        else:
            middle = (before[0] + x) / 2
            words.append(f"C{middle:.1f} {before[1]:.1f} {middle:.1f} {y:.1f} {x:.1f} {y:.1f}")
        before = (x, y)
    told = element("title", f"{trial.name}: " + ("no result" if trial.result is None else f"{trial.result:.4g}"))
    if trial.result is None:
        style = "stroke:var(--soft,#788290);stroke-dasharray:4 4;stroke-opacity:.6;stroke-width:1.2"
    elif best:
        style = "stroke:var(--series-1,#e8590c);stroke-width:3.2"
    else:
        style = f"stroke:var(--series-0,#3b78d8);stroke-opacity:{0.18 + 0.72 * rank:.2f};stroke-width:{1.2 + rank:.1f}"
    return element("path", told, d="".join(words), fill="none", stroke_linecap="round", style=style)


def _axis(column: _Column, x: float, last: bool) -> Markup:
    parts = [element("line", x1=f"{x:.1f}", y1=TOP, x2=f"{x:.1f}", y2=HEIGHT - BOTTOM, stroke="currentColor",
                     stroke_opacity=0.45)]  # fmt: skip
    parts.append(_text(x, TOP - 34, column.title, "middle", 13, 600))
    for place, words in column.marks:
        y = _height(place)
        side = 1 if last else -1
        parts.append(element("line", x1=f"{x:.1f}", y1=f"{y:.1f}", x2=f"{x + 4 * side:.1f}", y2=f"{y:.1f}",
                             stroke="currentColor", stroke_opacity=0.45))  # fmt: skip
        shown = words if len(words) <= LONGEST_WORD else words[: LONGEST_WORD - 1] + "…"
        parts.append(_text(x + 7 * side, y + 4, shown, "start" if last else "end", 11, 400))
    return element("g", *parts)


def _text(x: float, y: float, words: str, anchor: str, size: int, weight: int) -> Markup:
    return element(
        "text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, font_size=size, font_weight=weight,
        fill="currentColor", style="paint-order:stroke;stroke:var(--paper,#fff);stroke-width:3px;stroke-linejoin:round",
    )  # fmt: skip
