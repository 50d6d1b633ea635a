"""Counts and quantiles in fixed memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.tuning.tally import Tally

LATENCIES = st.lists(st.floats(1e-6, 1000, allow_nan=False), min_size=1, max_size=300)


@given(LATENCIES, st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_quantile_is_right_to_one_percent(latencies: list[float], share: float) -> None:
    tally = Tally()
    for latency in latencies:
        tally.add(latency)
    exact = sorted(latencies)[math.ceil(share * len(latencies)) - 1]
    assert tally.quantile(share) == pytest.approx(exact, rel=0.0101)


def test_what_is_outside_the_buckets_is_counted_at_their_ends() -> None:
    tally = Tally()
    for latency in (0.0, -1.0, 1e9):
        tally.add(latency)
    assert tally.requests == 3
    assert tally.quantile(0.5) < 2e-6
    assert tally.quantile(1.0) > 1000


def test_nothing_measured() -> None:
    tally = Tally()
    assert tally.rate == 0
    assert math.isnan(tally.p99_ms)


def test_the_rate_is_requests_over_time() -> None:
    tally = Tally(seconds=2.0)
    for _ in range(10):
        tally.add(0.002)
    assert tally.rate == 5
    assert tally.p50_ms == pytest.approx(2, rel=0.01)
