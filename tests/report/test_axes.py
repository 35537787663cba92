import math

import pytest

from glipv2.report.axes import linear_axis, log_axis, round_step, tick_text


def test_ticks_are_round_and_enclose_the_values() -> None:
    assert linear_axis([0.13, 0.87]).ticks == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert linear_axis([-3, 12]).ticks == (-5.0, 0.0, 5.0, 10.0, 15.0)


def test_a_tight_axis_ends_at_the_values() -> None:
    axis = linear_axis([19, 1499], ticks=8, tight=True)
    assert (axis.low, axis.high) == (19, 1499)
    assert axis.ticks == (200, 400, 600, 800, 1000, 1200, 1400)


@pytest.mark.parametrize("value", [0.0, 5.0, -2.5, 1e-9, 1e12])
def test_a_constant_lies_inside_its_axis(value: float) -> None:
    axis = linear_axis([value, value])
    assert axis.low < axis.high
    assert 0 <= axis.place(value) <= 1
    assert len(axis.ticks) >= 2


def test_no_values_give_an_axis_from_0_to_1() -> None:
    assert (linear_axis([]).low, linear_axis([]).high) == (0, 1)


def test_from_zero_includes_zero() -> None:
    assert linear_axis([70, 80], from_zero=True).low == 0
    assert linear_axis([-80, -70], from_zero=True).high == 0


def test_a_logarithmic_axis_spaces_decades_evenly() -> None:
    axis = log_axis([0.001, 100])
    assert axis.ticks == pytest.approx((0.001, 0.01, 0.1, 1, 10, 100))
    assert axis.place(0.1) == pytest.approx(2 / 5)


def test_a_short_logarithmic_axis_has_ticks_between_decades() -> None:
    assert log_axis([1.5, 18]).ticks == pytest.approx((1, 2, 5, 10, 20))


def test_a_constant_on_a_logarithmic_axis_lies_inside_it() -> None:
    axis = log_axis([10, 10])
    assert axis.low < axis.high
    assert 0 <= axis.place(10) <= 1


@pytest.mark.parametrize(("wanted", "step"), [(0.18, 0.2), (1, 1), (2.1, 2.5), (2.6, 5), (7, 10), (294, 500)])
def test_steps_are_1_2_5_and_quarters(wanted: float, step: float) -> None:
    assert math.isclose(round_step(wanted), step)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (400, "400"),
        (20_000, "20k"),
        (1.5e6, "1.5M"),
        (1e-4, "1e-4"),
        (2.5e-5, "2.5e-5"),
        (1e30, "1e30"),
    ],
)
def test_ticks_are_short(value: float, text: str) -> None:
    assert tick_text(value) == text
