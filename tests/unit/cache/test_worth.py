"""A tier is asked only while it is cheap beside the model, and the decision is a steady one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.cache.worth import EVIDENCE, RETURN, WEIGHT, Cost, Worth

FACTOR = 10.0
LOOK_UP = 1e-6


def model_of(seconds: float) -> Cost:
    cost = Cost()
    cost.add(seconds, 1)
    cost.settle()
    return cost


def tier(factor: float = FACTOR, look_up: float = LOOK_UP, rows: int = EVIDENCE) -> Worth:
    worth = Worth(factor)
    worth.look_up.add(look_up * rows, rows)
    return worth


def test_a_cost_is_the_mean_of_its_first_period() -> None:
    cost = Cost()
    cost.add(2.0, 1)
    cost.add(4.0, 2)
    assert (cost.seconds, cost.rows) == (0.0, 0), "the period is not over"
    cost.settle()
    assert (cost.seconds, cost.rows) == (2.0, 3)


def test_work_for_rows_that_are_counted_elsewhere_makes_a_row_dearer() -> None:
    cost = Cost()
    cost.add(1.0, 2)
    cost.add(3.0, 0)
    cost.settle()
    assert (cost.seconds, cost.rows) == (2.0, 2)


def test_later_periods_move_a_cost_by_their_weight() -> None:
    cost = model_of(1.0)
    cost.add(20.0, 10)
    cost.settle()
    assert cost.seconds == pytest.approx(1.0 + WEIGHT)
    assert cost.rows == 11


def test_a_period_without_rows_changes_nothing_and_loses_nothing() -> None:
    cost = model_of(1.0)
    cost.settle()
    assert (cost.seconds, cost.rows) == (1.0, 1)
    cost.add(1.0, 0)
    cost.settle()
    assert (cost.seconds, cost.rows) == (1.0, 1)
    cost.add(1.0, 1)
    cost.settle()
    assert cost.seconds == pytest.approx(1.0 + WEIGHT)


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.integers(1, 100)), min_size=1, max_size=20))
def test_a_cost_lies_between_the_least_and_the_most_that_was_seen(periods: list[tuple[float, int]]) -> None:
    cost = Cost()
    for seconds, rows in periods:
        cost.add(seconds * rows, rows)
        cost.settle()
    low, high = min(seconds for seconds, _ in periods), max(seconds for seconds, _ in periods)
    assert low * (1 - 1e-9) <= cost.seconds <= high * (1 + 1e-9)
    assert cost.rows == sum(rows for _, rows in periods)


def test_little_traffic_is_no_reason_to_keep_a_tier_out() -> None:
    worth = tier(rows=EVIDENCE - 1)
    worth.review(model_of(LOOK_UP))
    assert worth.admitted
    worth.look_up.add(LOOK_UP, 1)
    worth.review(model_of(LOOK_UP))
    assert not worth.admitted


def test_a_model_that_never_ran_is_no_reason_to_keep_a_tier_out() -> None:
    worth = tier(look_up=1.0)
    worth.review(Cost())
    assert worth.admitted


@pytest.mark.parametrize(("seconds", "admitted"), [(0.9, False), (1.1, True)])
def test_a_tier_stays_while_the_model_costs_factor_times_a_look_up(seconds: float, admitted: bool) -> None:
    worth = tier()
    worth.review(model_of(seconds * FACTOR * LOOK_UP))
    assert worth.admitted == admitted


@pytest.mark.parametrize(("seconds", "admitted"), [(1.1, False), (0.99 * RETURN, False), (1.01 * RETURN, True)])
def test_a_tier_that_was_kept_out_comes_back_only_when_it_clearly_pays(seconds: float, admitted: bool) -> None:
    worth = tier()
    worth.review(model_of(0.0))
    assert not worth.admitted
    worth.review(model_of(seconds * FACTOR * LOOK_UP))
    assert worth.admitted == admitted


def test_factor_0_is_always() -> None:
    worth = tier(factor=0.0, look_up=1.0)
    worth.review(model_of(1e-9))
    assert worth.admitted


@given(st.floats(1, 100), st.floats(1e-7, 1e-3), st.lists(st.floats(1e-8, 1), min_size=1, max_size=20), st.booleans())
def test_a_tier_in_use_costs_at_most_its_share_of_the_model(
    factor: float, look_up: float, models: list[float], start: bool
) -> None:
    worth = tier(factor, look_up)
    worth.admitted = start
    for seconds in models:
        before = worth.admitted
        worth.review(model_of(seconds))
        share = look_up / seconds
        if worth.admitted:
            assert share <= (1 / factor if before else 1 / factor / RETURN) * (1 + 1e-9)
        else:
            assert share >= (1 / factor if before else 1 / factor / RETURN) * (1 - 1e-9)
