import math
import re
from xml.etree import ElementTree

import pytest

from glipv2.report.curves import PLOT_HEIGHT, TOP, WIDTH, line_chart, moving_average, thinned


def parsed(svg: str) -> ElementTree.Element:
    """The chart as XML: fails when tags or quotes don't match."""
    return ElementTree.fromstring(svg)


def paths(svg: str) -> list[str]:
    """Path data of the lines, without the strokes of the legend."""
    return [
        path.attrib["d"] for path in parsed(svg).iter("path") if "L" in path.attrib["d"] or "M" in path.attrib["d"][1:]
    ]


def coordinates(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_a_chart_names_itself_its_axes_and_its_lines() -> None:
    svg = parsed(line_chart({"box": [(0, 1), (10, 0.5)], "alignment": [(0, 2), (10, 1)]}, "Loss"))
    assert svg.findtext("title") == "Loss"
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"] == "Loss: box from 1 at step 0 to 0.5 at 10; alignment from 2 at step 0 to 1 at 10"
    words = [text.text for text in svg.iter("text")]
    assert {"Loss", "box", "alignment", "step", "0", "10", "0.5", "2"} <= set(words)


def test_higher_values_are_drawn_higher_and_all_within_the_plot() -> None:
    (path,) = paths(line_chart({"a": [(0, 0), (5, 10), (10, 5)]}, "t"))
    (x0, y0), (x1, y1), (x2, y2) = coordinates(path)
    assert x0 < x1 < x2 <= WIDTH
    assert (y1, y0) == (TOP, TOP + PLOT_HEIGHT)
    assert y2 == pytest.approx((y0 + y1) / 2)


def test_nan_and_infinity_break_a_line_and_appear_nowhere() -> None:
    svg = line_chart({"a": [(0, 1), (1, 2), (2, math.nan), (3, 3), (4, math.inf), (5, 4), (6, 5)]}, "t")
    (path,) = paths(svg)
    assert path.count("M") == 3
    assert len(coordinates(path)) == 5
    assert "nan" not in svg and "inf" not in svg


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(0, math.nan)]}, {"a": [(math.nan, 1.0)]}])
def test_a_chart_of_nothing_says_so(series: dict[str, list[tuple[float, float]]]) -> None:
    assert "nothing was logged" in [text.text for text in parsed(line_chart(series, "t")).iter("text")]


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("points", [[(7, 3.0)], [(0, 3.0), (1, 3.0)], [(0, 1e-300)], [(0, 1e300), (1, 2e300)]])
def test_one_point_constants_and_extremes_are_drawn_inside_the_plot(
    points: list[tuple[float, float]], log_y: bool
) -> None:
    svg = parsed(line_chart({"a": points}, "t", log_y=log_y))
    circles = [(float(circle.attrib["cx"]), float(circle.attrib["cy"])) for circle in svg.iter("circle")]
    assert len(circles) == len(points)
    assert all(0 < x < WIDTH and TOP <= y <= TOP + PLOT_HEIGHT for x, y in circles)


def test_values_not_above_zero_are_gaps_on_a_logarithmic_axis() -> None:
    (path,) = paths(line_chart({"a": [(0, 100), (1, 10), (2, 0), (3, 1), (4, 0.1)]}, "t", log_y=True))
    assert path.count("M") == 2


def test_a_noisy_line_is_smoothed_with_the_measured_one_faint_behind() -> None:
    points = [(float(step), 1.0 + (step % 2)) for step in range(100)]
    svg = parsed(line_chart({"a": points}, "t", smooth=True, from_zero=True))
    faint, trend = [path for path in svg.iter("path") if "L" in path.attrib["d"]]
    assert float(faint.attrib["stroke-opacity"]) < 0.5
    heights = [y for _, y in coordinates(trend.attrib["d"])[10:-10]]
    measured = [y for _, y in coordinates(faint.attrib["d"])]
    assert max(heights) - min(heights) < 0.3 * (max(measured) - min(measured))


def test_a_spike_does_not_flatten_a_smoothed_line() -> None:
    points = [(float(step), 1.0) for step in range(400)]
    points[200] = (200.0, 1000.0)
    svg = line_chart({"a": points}, "t", smooth=True)
    ticks = [float(t) for text in parsed(svg).iter("text") if re.fullmatch(r"[\d.]+", t := text.text or "")]
    assert 1000.0 not in ticks


def test_short_lines_are_not_smoothed() -> None:
    points = [(0, 1.0), (1, 3.0), (2, 1.0)]
    assert paths(line_chart({"a": points}, "t", smooth=True)) == paths(line_chart({"a": points}, "t"))


def test_a_moving_average_is_centred_and_leaves_out_nan() -> None:
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, 6.0), (3.0, math.nan), (4.0, 8.0)]
    averaged = moving_average(points, 3)
    assert [x for x, _ in averaged] == [0, 1, 2, 3, 4]
    assert [y for _, y in averaged[:3]] == [1.0, 3.0, 4.0]
    assert math.isnan(averaged[3][1])
    assert averaged[4][1] == 8.0


def test_thinning_keeps_the_extremes_and_the_ends() -> None:
    points = [(float(step), math.sin(step / 50)) for step in range(10_000)]
    points[1234], points[5678] = (1234.0, 9.0), (5678.0, -9.0)
    kept = thinned(points, 400)
    assert len(kept) <= 404
    assert {points[0], points[1234], points[5678], points[-1]} <= set(kept)
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)


def test_names_are_escaped_and_long_legends_stay_inside() -> None:
    svg = line_chart({f"<b>{'very ' * 20}{number}": [(0, 1), (1, number)] for number in range(12)}, "<i>&")
    root = parsed(svg)
    assert "<b>" not in svg and "<i>" not in svg
    height = float(root.attrib["viewBox"].split()[3])
    assert all(float(text.attrib["y"]) < height for text in root.iter("text"))
