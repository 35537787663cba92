"""Line charts as inline SVG: no script, no outside font, colours that follow the page's light or dark mode."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glipv2.report.axes import Axis, linear_axis, log_axis, tick_text
from glipv2.report.markup import Markup, element, join

Point = tuple[float, float]

WIDTH, PLOT_HEIGHT = 460, 200  # in the SVG's own units, about one pixel on a phone
TOP, RIGHT, BOTTOM = 30, 14, 38  # margins of the plot: title above, axis below
LEGEND_ROW = 18
CHARACTER = 6.4  # width of an average character at the 11 units of small text
# Mid tones that can be read on white and on black; a page may override them with --series-0 … --series-7.
COLORS = ("#3b78d8", "#e8590c", "#2f9e44", "#ae3ec9", "#0c8599", "#d6336c", "#a07800", "#788290")
MARKED_POINTS = 25  # lines of no more points than this show each point
DRAWN_POINTS = 400  # longer lines are thinned; a screen can't show more
SMOOTHED_FROM = 30  # points; below it noise is not told from trend


@dataclass(frozen=True)
class Line:
    """One series ready to be drawn: `trend` on top, `raw` faint behind it (empty where nothing was smoothed)."""

    name: str
    style: str
    trend: tuple[Point, ...]
    raw: tuple[Point, ...]


@dataclass(frozen=True)
class Frame:
    """Where the plot lies in the picture: its left edge, its width, and both axes."""

    left: float
    width: float
    x: Axis
    y: Axis

    def at(self, point: Point) -> Point:
        """A data point in the SVG's units."""
        return self.left + self.x.place(point[0]) * self.width, TOP + (1 - self.y.place(point[1])) * PLOT_HEIGHT


def line_chart(
    series: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    *,
    x_label: str = "step",
    smooth: bool = False,
    log_y: bool = False,
    from_zero: bool = False,
) -> Markup:
    """An `<svg>` of one line a series over (x, y) points in order of x.

    NaN and infinite values (and with `log_y` those not above 0) break a line. smooth: long lines are
    drawn as a centred moving average, the measured values faint behind it and cut off where a spike
    would flatten everything else. from_zero: the linear y axis starts at 0.
    """
    lines = [_line(index, name, points, smooth, log_y) for index, (name, points) in enumerate(series.items())]
    lines = [line for line in lines if any(_is_finite(point) for point in line.trend)]
    if not lines:
        return _empty_chart(title)
    frame = _frame(lines, log_y, from_zero)
    legend, legend_height = _legend(lines)
    drawing = [_grid(frame, x_label), _raw_lines(lines, frame), *(_trend(line, frame) for line in lines), legend]
    return _picture(title, _summary(title, lines, x_label), TOP + PLOT_HEIGHT + BOTTOM + legend_height, drawing)


def moving_average(points: Sequence[Point], window: int) -> list[Point]:
    """Each point's mean with the finite ones up to `window // 2` places before and after it: no lag.

    At the start, where a loss falls steeply, the window shrinks on both sides; at the end only on the
    later side, so that the last values are not the noisiest.
    """
    averaged: list[Point] = []
    for index, (x, y) in enumerate(points):
        reach = min(window // 2, index)
        near = [value for _, value in points[index - reach : index + reach + 1] if math.isfinite(value)]
        averaged.append((x, sum(near) / len(near) if math.isfinite(y) else math.nan))
    return averaged


def thinned(points: Sequence[Point], limit: int = DRAWN_POINTS) -> list[Point]:
    """At most about `limit` points with the same outline: of each stretch the lowest and the highest."""
    if len(points) <= limit:
        return list(points)
    stretch = math.ceil(2 * len(points) / limit)
    kept: list[Point] = [points[0]]
    for start in range(0, len(points), stretch):
        part = [point for point in points[start : start + stretch] if math.isfinite(point[1])]
        if not part:
            kept.append(points[start])  # a stretch of NaN still breaks the line
            continue
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [*kept, points[-1]]


def _line(index: int, name: str, points: Sequence[Point], smooth: bool, log_y: bool) -> Line:
    place = index % len(COLORS)
    dash = ";stroke-dasharray:6 3" if index >= len(COLORS) else ""  # a second round of colours stays apart
    style = f"stroke:var(--series-{place},{COLORS[place]});fill:none{dash}"
    shown = [(x, y if y > 0 or not log_y else math.nan) for x, y in points if math.isfinite(x)]
    if not smooth or len(shown) < SMOOTHED_FROM:
        return Line(name, style, tuple(thinned(shown)), ())
    window = max(5, len(shown) // 20)
    return Line(name, style, tuple(thinned(moving_average(shown, window))), tuple(thinned(shown)))


def _is_finite(point: Point) -> bool:
    return math.isfinite(point[1])


def _frame(lines: Sequence[Line], log_y: bool, from_zero: bool) -> Frame:
    trends = [point for line in lines for point in line.trend if _is_finite(point)]
    heights = [y for _, y in trends]
    for line in lines:  # measured values behind a trend may be cut: the middle 96 % decide
        measured = sorted(y for _, y in line.raw if math.isfinite(y))
        heights += measured[len(measured) // 50 : len(measured) - len(measured) // 50]
    y = log_axis(heights) if log_y else linear_axis(heights, from_zero=from_zero)
    across = [x for x, _ in trends]
    # Steps count from 0; a stretch far from it (a run that was resumed) fills the width instead.
    x = linear_axis(across, ticks=8, tight=True, from_zero=0 <= min(across) < 0.25 * max(across))
    left = 12 + CHARACTER * max(len(tick_text(tick)) for tick in y.ticks)
    return Frame(left, WIDTH - RIGHT - left, x, y)


def _grid(frame: Frame, x_label: str) -> Markup:
    foot = TOP + PLOT_HEIGHT
    right = frame.left + frame.width
    parts: list[Markup] = []
    for tick in frame.y.ticks:
        height = _number(frame.at((frame.x.low, tick))[1])
        parts.append(_rule(_number(frame.left), height, _number(right), height, 0.14))
        parts.append(_text(frame.left - 6, float(height) + 4, tick_text(tick), "end"))
    for tick in frame.x.ticks:
        across = frame.at((tick, frame.y.low))[0]
        parts.append(_rule(_number(across), _number(foot), _number(across), _number(foot + 4), 0.5))
        half = CHARACTER * len(tick_text(tick)) / 2
        parts.append(_text(min(across, WIDTH - half), foot + 16, tick_text(tick), "middle"))
    parts.append(_rule(_number(frame.left), _number(foot), _number(right), _number(foot), 0.5))
    parts.append(_text(right, foot + 31, x_label, "end", 0.6))
    return join(parts)


def _rule(x1: str, y1: str, x2: str, y2: str, opacity: float) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="currentColor", stroke_opacity=opacity)


def _text(x: float, y: float, words: str, anchor: str = "start", opacity: float = 0.75) -> Markup:
    return element(
        "text", words, x=_number(x), y=_number(y), text_anchor=anchor, font_size=11, fill="currentColor",
        fill_opacity=opacity,
    )  # fmt: skip


def _raw_lines(lines: Sequence[Line], frame: Frame) -> Markup:
    """Measured values, cut at the plot's edges: an inner svg clips without an id that must be unique."""
    drawn = [
        element("path", d=_path(line.raw, frame), style=line.style, stroke_opacity=0.28, stroke_width=1)
        for line in lines
        if line.raw
    ]
    place = {"x": _number(frame.left), "y": TOP, "width": _number(frame.width), "height": PLOT_HEIGHT}
    box = f"{place['x']} {TOP} {place['width']} {PLOT_HEIGHT}"
    return element("svg", *drawn, viewBox=box, overflow="hidden", **place) if drawn else Markup()


def _trend(line: Line, frame: Frame) -> Markup:
    path = element(
        "path", d=_path(line.trend, frame), style=line.style, stroke_width=2, stroke_linejoin="round",
        stroke_linecap="round",
    )  # fmt: skip
    finite = [point for point in line.trend if _is_finite(point)]
    if line.raw or len(finite) > MARKED_POINTS:
        return path
    return join([path, *(_marker(line, point, frame) for point in finite)])


def _marker(line: Line, point: Point, frame: Frame) -> Markup:
    x, y = frame.at(point)
    hover = element("title", f"{line.name}: {point[1]:.4g} at {tick_text(point[0])}")
    style = line.style.replace("fill:none", "fill:var(--paper,#fff)")
    return element("circle", hover, cx=_number(x), cy=_number(y), r=3, stroke_width=2, style=style)


def _path(points: Sequence[Point], frame: Frame) -> str:
    """SVG path data; a new stroke begins after every gap."""
    words: list[str] = []
    pen_up = True
    for point in points:
        if not _is_finite(point):
            pen_up = True
            continue
        x, y = frame.at(point)
        words.append(f"{'M' if pen_up else 'L'}{_number(x)} {_number(y)}")
        pen_up = False
    return "".join(words)


def _legend(lines: Sequence[Line]) -> tuple[Markup, float]:
    """Names with a stroke of their colour, as many a row as fit; and the height that they take."""
    x, y = 0.0, float(TOP + PLOT_HEIGHT + BOTTOM + 10)
    parts: list[Markup] = []
    for line in lines:
        name = line.name if len(line.name) <= 48 else line.name[:47] + "…"
        width = 30 + CHARACTER * len(name)
        if x > 0 and x + width > WIDTH:
            x, y = 0.0, y + LEGEND_ROW
        stroke = f"M{_number(x)} {_number(y - 4)}h14"
        parts.append(element("path", d=stroke, style=line.style, stroke_width=3))
        parts.append(_text(x + 19, y, name, opacity=0.9))
        x += width + 6
    return join(parts), y + 8 - (TOP + PLOT_HEIGHT + BOTTOM)


def _summary(title: str, lines: Sequence[Line], x_label: str) -> str:
    """The chart in a sentence, for people who don't see it."""
    ends = []
    for line in lines:
        finite = [point for point in line.trend if _is_finite(point)]
        first, last = finite[0], finite[-1]
        ends.append(f"{line.name} from {first[1]:.4g} at {x_label} {first[0]:g} to {last[1]:.4g} at {last[0]:g}")
    return f"{title}: " + "; ".join(ends)


def _picture(title: str, label: str, height: float, drawing: Sequence[Markup]) -> Markup:
    heading = element("text", title, x=0, y=16, font_size=14, font_weight=600, fill="currentColor")
    return element(
        "svg", element("title", title), heading, *drawing, viewBox=f"0 0 {WIDTH} {_number(height)}", role="img",
        aria_label=label, class_="chart",
    )  # fmt: skip


def _empty_chart(title: str) -> Markup:
    words = _text(WIDTH / 2, 60, "nothing was logged", "middle")
    return _picture(title, f"{title}: nothing was logged", 90, [words])


def _number(value: float) -> str:
    """A coordinate with one decimal: a tenth of a unit is finer than any screen."""
    return f"{value:.1f}".removesuffix(".0")
