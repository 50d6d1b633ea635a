"""A tier is used while its hits pay for its look-ups, and one that never hits takes no more than its share."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modelyard.cache.worth import EVIDENCE, REST, WEIGHT, PerRow, Worth, pays

FACTOR = 10.0
LOOK_UP = 1e-6
ROWS = round(2 * EVIDENCE / LOOK_UP)
"""Look-ups that are evidence enough."""

seconds = st.floats(1e-7, 1.0)
ratios = st.floats(0.0, 1.0)
factors = st.floats(1.0, 1000.0)


def model_of(cost: float) -> PerRow:
    made = PerRow()
    made.add(cost, 1)
    made.settle()
    return made


def tier(factor: float = FACTOR, *, hit_ratio: float = 0.0, rows: int = ROWS) -> Worth:
    worth = Worth(factor)
    worth.asked(LOOK_UP * rows, rows, round(hit_ratio * rows))
    return worth


# --- a value per row ----------------------------------------------------------------------------------------------


def test_a_value_is_the_mean_of_its_first_period() -> None:
    cost = PerRow()
    cost.add(2.0, 1)
    cost.add(4.0, 2)
    assert (cost.value, cost.rows) == (0.0, 0), "the period is not over"
    cost.settle()
    assert (cost.value, cost.rows) == (2.0, 3)


def test_work_for_rows_that_are_counted_elsewhere_makes_a_row_dearer() -> None:
    cost = PerRow()
    cost.add(1.0, 2)
    cost.add(3.0, 0)
    cost.settle()
    assert (cost.value, cost.rows) == (2.0, 2)


def test_later_periods_move_a_value_by_their_weight() -> None:
    cost = model_of(1.0)
    cost.add(20.0, 10)
    cost.settle()
    assert cost.value == pytest.approx(1.0 + WEIGHT)
    assert cost.rows == 11


def test_a_period_without_rows_changes_nothing_and_loses_nothing() -> None:
    cost = model_of(1.0)
    cost.settle()
    assert (cost.value, cost.rows) == (1.0, 1)
    cost.add(1.0, 0)
    cost.settle()
    assert (cost.value, cost.rows) == (1.0, 1)
    cost.add(1.0, 1)
    cost.settle()
    assert cost.value == pytest.approx(1.0 + WEIGHT)


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.integers(1, 100)), min_size=1, max_size=20))
def test_a_value_lies_between_the_least_and_the_most_that_was_seen(periods: list[tuple[float, int]]) -> None:
    cost = PerRow()
    for each, rows in periods:
        cost.add(each * rows, rows)
        cost.settle()
    low, high = min(each for each, _ in periods), max(each for each, _ in periods)
    assert low * (1 - 1e-9) <= cost.value <= high * (1 + 1e-9)
    assert cost.rows == sum(rows for _, rows in periods)


# --- the rule -----------------------------------------------------------------------------------------------------


@given(seconds, seconds, factors)
def test_without_hits_a_tier_that_is_used_takes_at_most_its_share(look_up: float, row: float, factor: float) -> None:
    assume(abs(look_up * factor / row - 1) > 1e-9)
    assert pays(look_up, 0.0, row, factor) == (look_up / row < 1 / factor)


@given(st.floats(0.0, 0.999), ratios, seconds, factors)
def test_hits_that_save_more_than_the_look_ups_cost_always_pay(
    part: float, hits: float, row: float, factor: float
) -> None:
    assert pays(part * hits * row, hits, row, factor)


@given(seconds, ratios, seconds, factors)
def test_what_is_lost_by_a_tier_in_use_is_never_more_than_its_share(
    look_up: float, hits: float, row: float, factor: float
) -> None:
    lost = look_up - hits * row
    assume(abs(lost * factor / row - 1) > 1e-6)
    assert pays(look_up, hits, row, factor) == (lost < row / factor)


@given(seconds, ratios, seconds, factors, st.floats(1, 10), st.floats(0, 1), st.floats(1, 10))
def test_more_hits_a_dearer_model_or_a_cheaper_look_up_never_speak_against_a_tier(
    look_up: float, hits: float, row: float, factor: float, cheaper: float, more: float, dearer: float
) -> None:
    if pays(look_up, hits, row, factor):
        assert pays(look_up / cheaper, hits, row, factor)
        assert pays(look_up, min(1.0, hits + more), row, factor)
        assert pays(look_up, hits, row * dearer, factor)


@given(seconds, ratios, seconds)
def test_factor_0_is_always(look_up: float, hits: float, row: float) -> None:
    assert pays(look_up, hits, row, 0.0)


# --- when it is decided -------------------------------------------------------------------------------------------


def test_nothing_is_decided_before_there_is_evidence() -> None:
    worth = Worth(FACTOR)
    worth.asked(0.99 * EVIDENCE, 10**6)
    worth.review(model_of(LOOK_UP), 0.0)
    assert worth.admitted
    assert worth.look_up.value == 0
    worth.asked(0.02 * EVIDENCE, 1)
    worth.review(model_of(LOOK_UP), 0.0)
    assert not worth.admitted


def test_few_rows_are_evidence_when_they_are_dear() -> None:
    worth = Worth(FACTOR)
    worth.asked(EVIDENCE, 3)
    worth.review(model_of(EVIDENCE / 3), 0.0)
    assert not worth.admitted


def test_a_model_that_never_ran_is_no_reason_to_leave_a_tier_out() -> None:
    worth = tier()
    worth.review(PerRow(), 0.0)
    assert worth.admitted


@pytest.mark.parametrize(("hit_ratio", "admitted"), [(0.0, False), (0.85, False), (0.95, True)])
def test_a_tier_stays_that_hits_often_enough(hit_ratio: float, admitted: bool) -> None:
    worth = tier(hit_ratio=hit_ratio)  # a row costs one look-up: 1 <= hit ratio + 1 / 10
    worth.review(model_of(LOOK_UP), 0.0)
    assert worth.admitted == admitted


@pytest.mark.parametrize(("share", "admitted"), [(0.9, True), (1.1, False)])
def test_a_tier_that_never_hits_stays_while_it_takes_no_more_than_its_share(share: float, admitted: bool) -> None:
    worth = tier()
    worth.review(model_of(LOOK_UP * FACTOR / share), 0.0)
    assert worth.admitted == admitted


def test_a_tier_that_was_left_out_is_tried_again_after_its_rest_and_until_there_is_evidence() -> None:
    worth, model = tier(), model_of(LOOK_UP)

    def at(now: float) -> bool:
        worth.review(model, now)
        return worth.admitted

    assert not at(50.0)
    worth.asked(LOOK_UP * ROWS, ROWS, ROWS)  # late answers: they do not count
    assert not at(49.9 + REST)
    assert at(50.0 + REST)
    assert at(1000.0 + REST), "a trial lasts until there is evidence"
    worth.asked(LOOK_UP * ROWS, ROWS, 0)
    assert not at(1001.0 + REST)
    assert at(1001.0 + 2 * REST)
    worth.asked(LOOK_UP * ROWS, ROWS, ROWS)
    assert at(1002.0 + 2 * REST), "it hits now, and what it did before its rest is forgotten"


def test_a_tier_that_has_paid_stays_through_a_burst_of_new_rows() -> None:
    worth, model = tier(hit_ratio=0.9), model_of(4 * LOOK_UP)
    worth.review(model, 0.0)
    for _ in range(3):
        worth.asked(LOOK_UP * ROWS, ROWS, 0)
        worth.review(model, 0.0)
    assert worth.admitted
    for _ in range(10):
        worth.asked(LOOK_UP * ROWS, ROWS, 0)
        worth.review(model, 0.0)
    assert not worth.admitted


@given(
    st.lists(st.tuples(st.floats(0.1, 50.0), st.floats(0, 0.2)), min_size=1, max_size=100),
    st.floats(1e-6, 1e-3),
)
def test_a_tier_that_never_pays_is_used_for_evidence_only(turns: list[tuple[float, float]], look_up: float) -> None:
    """Whatever the traffic: it is asked for EVIDENCE seconds (and one turn more), then rests for REST seconds."""
    worth, model = Worth(FACTOR), model_of(look_up)
    now = spent = left_at = 0.0
    for pause, work in turns:
        now += pause
        if worth.admitted:
            worth.asked(work, max(1, round(work / look_up)))
            spent += work
        before = worth.admitted
        worth.review(model, now)
        if before and not worth.admitted:
            assert EVIDENCE <= spent <= EVIDENCE + 0.2 + 1e-9
            spent, left_at = 0.0, now
        if worth.admitted and not before:
            assert now >= left_at + REST
        assert spent < EVIDENCE or not worth.admitted
