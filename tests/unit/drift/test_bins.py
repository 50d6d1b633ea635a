"""Bins: about equal shares, no empty surprise for few values, NaN apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.drift.bins import BINS, counts_of, edges_of, labels_of

VALUES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300)


def counted(values: np.ndarray, edges: list[float]) -> list[int]:
    counts: list[int] = counts_of(values[:, None], [np.array(edges)])[0].tolist()
    return counts


def test_many_values_make_ten_bins_of_equal_share() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    edges = edges_of(values)
    assert len(edges) == BINS - 1
    assert labels_of(edges) == [*map(str, range(10)), "missing"]
    assert counted(values, edges) == [500] * 10 + [0]


def test_few_values_have_a_bin_each_and_room_on_both_sides() -> None:
    values = np.repeat([0.0, 1.0, 5.0], [70, 20, 10])
    edges = edges_of(values)
    assert counted(values, edges) == [0, 70, 20, 10, 0, 0]
    assert counted(np.array([-3.0, 9.0, np.nan]), edges) == [1, 0, 0, 0, 1, 1]


def test_a_constant_feature_shows_any_other_value() -> None:
    edges = edges_of(np.full(50, 0.5))
    assert counted(np.array([0.4, 0.5, 0.6]), edges) == [1, 1, 1, 0]


def test_a_value_with_most_of_the_mass_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(600), np.linspace(1, 2, 400)])
    edges = edges_of(values)
    assert counted(values, edges)[0] == 600
    assert max(counted(values, edges)[1:]) <= 105


def test_few_rows_make_fewer_bins() -> None:
    assert len(edges_of(np.arange(40.0))) == 3


def test_infinities_are_in_the_outer_bins() -> None:
    edges = edges_of(np.arange(100.0))
    counts = counted(np.array([-np.inf, np.inf]), edges)
    assert (counts[0], counts[-2]) == (1, 1)


def test_no_number_makes_no_bins() -> None:
    with pytest.raises(ValueError, match="no value is a number"):
        edges_of(np.array([np.nan, np.inf]))


@given(VALUES)
def test_every_value_falls_into_one_bin(values: list[float]) -> None:
    array = np.array([*values, np.nan])
    edges = edges_of(array)
    assert edges == sorted(set(edges))
    assert 1 <= len(edges) < BINS
    counts = counted(array, edges)
    assert sum(counts) == len(array)
    assert counts[-1] == 1


@given(st.lists(st.floats(-100, 100), min_size=30, max_size=200))
def test_rounding_to_float32_moves_no_value(values: list[float]) -> None:
    array = np.unique(np.array(values, np.float32))
    edges = edges_of(array.astype(np.float64))
    assert counted(array.astype(np.float64), edges) == counted(array, edges)
