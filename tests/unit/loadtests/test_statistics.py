"""Percentiles, medians and the histogram of the benchmark."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.bench.statistics import histogram, median, percentile, spread, uncertainty

values = st.lists(st.floats(1e-7, 1e4), min_size=1, max_size=60)


@given(values, st.floats(0.1, 100))
def test_a_percentile_is_one_of_the_values_and_so_many_do_not_exceed_it(given: list[float], percent: float) -> None:
    found = percentile(given, percent)
    assert found in given
    assert sum(value <= found for value in given) >= len(given) * percent / 100 - 1e-9
    assert sum(value < found for value in given) < max(1, len(given) * percent / 100)


@given(values)
def test_the_median_is_that_of_numpy(given: list[float]) -> None:
    assert median(given) == pytest.approx(float(np.median(given)))


def test_nothing_measured_is_zero_everywhere() -> None:
    assert (percentile([], 50), median([]), spread([0.0, 0.0]), histogram([])) == (0.0, 0.0, 0.0, {})


def test_known_values() -> None:
    hundred = [float(value) for value in range(1, 101)]
    assert (percentile(hundred, 50), percentile(hundred, 99), percentile(hundred, 100)) == (50.0, 99.0, 100.0)
    assert spread([90.0, 100.0, 110.0]) == pytest.approx(0.2)


@given(values)
def test_a_histogram_counts_every_value_under_its_upper_bound(given: list[float]) -> None:
    counts = histogram(given)
    assert sum(counts.values()) == len(given)
    assert max(float(bound) for bound in counts) >= max(given) * 1e6 * 0.94


def test_the_uncertainty_is_the_spread_of_medians_of_as_many_values() -> None:
    random = np.random.default_rng(7)
    medians = np.median(random.normal(1.0, 0.1, (4000, 75)), axis=1)
    found = [uncertainty(random.normal(1.0, 0.1, 75).tolist()) for _ in range(50)]
    assert np.median(found) == pytest.approx(float(medians.std()), rel=0.15)


def test_a_few_values_far_off_do_not_make_the_median_uncertain() -> None:
    values = [1.0 + 0.001 * (number % 7) for number in range(70)]
    assert uncertainty([*values, 50.0, 0.01]) < 0.001
    assert uncertainty([1.0]) == 0.0
