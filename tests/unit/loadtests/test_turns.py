"""Endpoints asked in turns: each is counted in its own turn, and at its own rate."""

from __future__ import annotations

import pytest

from loadtests.bench.turns import SETTLE, Turns


def test_endpoints_follow_each_other() -> None:
    turns = Turns(3, 0.5)
    assert [turns.current(0.5 * number + 0.1) for number in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_a_rate_is_that_of_the_answers_in_the_settled_part_of_a_turn() -> None:
    turns = Turns(2, 1.0)
    for number in range(4):
        step = 0.01 if number % 2 == 0 else 0.02
        for answer in range(int(0.98 / step)):
            turns.answered(number % 2, number + 0.005 + answer * step)
    fast, slow = turns.rates(4.0)
    assert fast == pytest.approx([100.0, 100.0])
    assert slow == pytest.approx([50.0, 50.0])


def test_the_answers_of_the_turn_before_do_not_count() -> None:
    turns = Turns(2, 1.0)
    for second in (1.0 + SETTLE / 2, 1.5, 1.6):
        turns.answered(0, second)  # late ones of the first endpoint
    turns.answered(1, 1.0 + SETTLE / 2)  # too early to be the second's own pace
    turns.answered(1, 1.5)
    turns.answered(1, 1.9)
    assert turns.rates(2.0) == [[0.0], [pytest.approx(2.5)]]


def test_a_slow_model_is_not_counted_in_whole_answers() -> None:
    turns = Turns(1, 1.0)
    for answer in range(4):
        turns.answered(0, 0.3 + answer * 0.21)
    assert turns.rates(1.0) == [[pytest.approx(1 / 0.21)]]


def test_a_round_that_was_not_whole_is_left_out() -> None:
    turns = Turns(2, 1.0)
    for number in range(3):
        for part in (0.5, 0.7, 0.9):
            turns.answered(number % 2, number + part)
    assert [len(rates) for rates in turns.rates(3.0)] == [1, 1]
