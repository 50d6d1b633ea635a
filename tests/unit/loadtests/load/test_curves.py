"""The shapes: how many users there are at which part of the run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.load.curves import CURVES, HOURS, users_at

PART = st.floats(0, 1, exclude_max=True)


@given(st.sampled_from(sorted(CURVES)), PART, st.integers(1, 500))
def test_there_is_always_a_user_and_never_more_than_asked_for(name: str, part: float, most: int) -> None:
    assert 0 <= CURVES[name](part) <= 1
    assert 1 <= users_at(CURVES[name], part, most) <= most


@pytest.mark.parametrize("name", sorted(CURVES))
def test_each_reaches_its_most(name: str) -> None:
    assert max(users_at(CURVES[name], part / 1000, 40) for part in range(1000)) == 40


@given(PART, PART)
def test_steps_only_rise(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert CURVES["step"](low) <= CURVES["step"](high)


def test_steps_are_four() -> None:
    assert [users_at(CURVES["step"], part, 40) for part in (0.0, 0.24, 0.25, 0.5, 0.99)] == [10, 10, 20, 30, 40]


def test_a_spike_comes_and_goes_at_once() -> None:
    assert [users_at(CURVES["spike"], part, 20) for part in (0.0, 0.39, 0.4, 0.59, 0.6, 0.99)] == [4, 4, 20, 20, 4, 4]


def test_a_soak_stays() -> None:
    assert {users_at(CURVES["soak"], part / 100, 20) for part in range(5, 96)} == {20}
    assert users_at(CURVES["soak"], 0.0, 20) == users_at(CURVES["soak"], 0.999, 20) == 1


@pytest.mark.parametrize("hour", range(24))
def test_a_day_goes_through_its_hours_in_straight_lines(hour: int) -> None:
    assert CURVES["day"](hour / 24) == pytest.approx(HOURS[hour])
    middle = (HOURS[hour] + HOURS[(hour + 1) % 24]) / 2
    assert CURVES["day"]((hour + 0.5) / 24) == pytest.approx(middle)
