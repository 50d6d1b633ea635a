"""Straight lines through samples: the slope, in percent an hour, and what is left out of it."""

from __future__ import annotations

import pytest

from loadtests.bench.trend import growth, percent_an_hour, slope


def test_slope_of_a_line() -> None:
    assert slope([0, 1, 2, 3], [5, 7, 9, 11]) == pytest.approx(2.0)


def test_slope_is_least_squares() -> None:
    # by hand: mean of x 1, of y 2; (-1)(-1) + 0 + 1 * 2 = 3; 1 + 0 + 1 = 2
    assert slope([0, 1, 2], [1, 1, 4]) == pytest.approx(1.5)


@pytest.mark.parametrize(("times", "values"), [([], []), ([1.0], [2.0]), ([1.0, 1.0], [2.0, 3.0])])
def test_slope_of_too_little_is_none(times: list[float], values: list[float]) -> None:
    assert slope(times, values) == 0.0


def test_percent_an_hour_is_of_the_mean_after_the_warm_up() -> None:
    times = [float(second) for second in range(0, 7200, 10)]
    # doubles during the warm-up, then grows by one in a hundred of its mean each hour
    values = [50.0 if second < 3600 else 99.5 + (second - 3600) / 3600 for second in times]
    assert percent_an_hour(times, values, 3600) == pytest.approx(1.0, rel=0.01)
    assert percent_an_hour(times, values) > 10


def test_percent_an_hour_of_nothing() -> None:
    assert percent_an_hour([], []) == 0.0
    assert percent_an_hour([1.0], [5.0], warm_up=10.0) == 0.0


def test_growth_compares_the_last_third_with_the_first() -> None:
    assert growth([10, 10, 10, 10, 10, 10]) == 0.0
    assert growth([10, 12, 11, 11, 14, 16]) == pytest.approx(4.0)
    assert growth([5]) == 0.0
    assert growth([]) == 0.0
