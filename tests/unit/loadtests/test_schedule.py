"""Arrival times: as many as asked, in order, and independent of each other when they are Poisson."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.bench.schedule import Kind, arrivals


def test_constant_arrivals_are_evenly_spaced() -> None:
    times = arrivals("constant", 10, 0.5)
    assert times.tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_constant_arrivals_are_not_miscounted_by_float_products() -> None:
    assert len(arrivals("constant", 10, 0.1)) == 1
    assert len(arrivals("constant", 3, 0.1)) == 1


def test_poisson_arrivals_have_the_rate_and_the_spread_of_poisson() -> None:
    times = arrivals("poisson", 1000, 20, seed=3)
    gaps = np.diff(times)
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert gaps.mean() == pytest.approx(0.001, rel=0.03)
    # exponential: the standard deviation of the gaps is their mean
    assert gaps.std() == pytest.approx(0.001, rel=0.05)


@pytest.mark.parametrize("kind", ["poisson", "constant"])
def test_arrivals_ascend_within_the_time(kind: Kind) -> None:
    times = arrivals(kind, 777, 1.5)
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < 1.5


def test_a_seed_gives_the_same_arrivals_again_and_another_gives_others() -> None:
    assert arrivals("poisson", 50, 2, seed=1).tolist() == arrivals("poisson", 50, 2, seed=1).tolist()
    assert arrivals("poisson", 50, 2, seed=1).tolist() != arrivals("poisson", 50, 2, seed=2).tolist()


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (1, 0), (-1, 1)])
def test_no_rate_or_no_time_is_no_arrival(rate: float, seconds: float) -> None:
    assert len(arrivals("poisson", rate, seconds)) == 0
