"""The measured cost of a run by its number of rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.batching.cost import WEIGHT, CostModel


@given(st.integers(1, 300), st.integers(1, 300))
def test_sizes_are_kept_apart_in_powers_of_two(measured: int, asked: int) -> None:
    cost = CostModel(1.0)
    for _ in range(100):
        cost.observe(measured, 64.0)
    bound = 1 << (measured - 1).bit_length()  # the largest size of the class of `measured`
    smaller = asked <= bound // 2 and measured > 1
    assert cost.expected(asked) == pytest.approx(1.0 if smaller else 64.0, rel=1e-3)


def test_the_newest_run_counts_by_its_weight() -> None:
    cost = CostModel(1.0)
    cost.observe(1, 2.0)
    assert cost.expected(1) == pytest.approx(1.0 + WEIGHT)


def test_an_unseen_size_costs_at_most_in_proportion() -> None:
    cost = CostModel(1.0)
    assert cost.at_most(8) == 8.0
    cost.observe_busy(4, 2.0)
    assert cost.at_most(8) == 4.0
    assert cost.at_most(4) == 2.0
    assert cost.at_most(2) == 2.0


def test_a_run_in_a_thread_can_only_prove_a_size_cheaper() -> None:
    cost = CostModel(1.0)
    cost.observe_busy(1, 5.0, in_thread=True)
    assert cost.at_most(1) == 1.0
    cost.observe_busy(1, 0.0, in_thread=True)
    assert cost.at_most(1) == pytest.approx(1.0 - WEIGHT)
    cost.observe_busy(1, 5.0)
    assert cost.at_most(1) > 1.0
