"""Counts gathered in Python reach prometheus_client exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from modelyard import meters
from modelyard.meters import Distribution, Level, Tally

BOUNDS = (0.5, 1.0, 2.5)


@pytest.fixture(name="registry", autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    monkeypatch.setattr(meters, "_meters", [])
    return CollectorRegistry()


@given(st.lists(st.one_of(st.sampled_from([0.0, *BOUNDS]), st.floats(0, 10)), max_size=30), st.integers(1, 5))
def test_a_distribution_is_the_histogram_of_the_same_values(values: list[float], often: int) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    distribution = Distribution(Histogram("h", "h", buckets=BOUNDS, registry=ours))
    histogram = Histogram("h", "h", buckets=BOUNDS, registry=theirs)
    for index, value in enumerate(values):
        distribution.observe(value)
        histogram.observe(value)
        if index % often == 0:
            distribution.flush()
    distribution.flush()
    distribution.flush()
    for bound in ("0.5", "1.0", "2.5", "+Inf"):
        labels = {"le": bound}
        assert ours.get_sample_value("h_bucket", labels) == theirs.get_sample_value("h_bucket", labels)
    assert ours.get_sample_value("h_count") == len(values)
    assert ours.get_sample_value("h_sum") == pytest.approx(theirs.get_sample_value("h_sum"))


VALUES = st.one_of(st.sampled_from([0.0, *BOUNDS, 1e9]), st.floats(0, 10))


@given(st.lists(st.lists(VALUES, max_size=8), max_size=5))
def test_many_values_at_once_are_as_many_one_by_one(groups: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    distribution = Distribution(Histogram("h", "h", buckets=BOUNDS, registry=ours))
    histogram = Histogram("h", "h", buckets=BOUNDS, registry=theirs)
    for group in groups:
        distribution.observe(0.75)  # both ways are used side by side
        distribution.observe_many(np.array(group, np.float64))
        for value in (0.75, *group):
            histogram.observe(value)
    distribution.flush()
    for bound in ("0.5", "1.0", "2.5", "+Inf"):
        labels = {"le": bound}
        assert ours.get_sample_value("h_bucket", labels) == theirs.get_sample_value("h_bucket", labels)
    for name in ("h_count", "h_sum"):
        assert ours.get_sample_value(name) == pytest.approx(theirs.get_sample_value(name))


def test_many_values_are_written_at_once_and_only_once(registry: CollectorRegistry) -> None:
    distribution = Distribution(Histogram("h", "h", buckets=BOUNDS, registry=registry))
    distribution.observe_many(np.array([0.5, 0.6, 7.0]))
    for _ in range(2):
        assert registry.get_sample_value("h_count") == 3
        assert registry.get_sample_value("h_bucket", {"le": "0.5"}) == 1
        meters.flush()


def test_a_tally_is_written_once(registry: CollectorRegistry) -> None:
    tally = Tally(Counter("c", "c", registry=registry))
    tally.inc()
    tally.inc(2)
    for _ in range(2):
        meters.flush()
        assert registry.get_sample_value("c_total") == 3


def test_a_level_shows_its_value_at_the_flush(registry: CollectorRegistry) -> None:
    level = Level(Gauge("g", "g", registry=registry))
    for value in (5, 3, 0):
        level.set(value)
        meters.flush()
        assert registry.get_sample_value("g") == value
    level.inc(2)
    level.inc(-1)
    meters.flush()
    assert registry.get_sample_value("g") == 1


def test_the_levels_of_two_versions_add_up_in_their_models_gauge(registry: CollectorRegistry) -> None:
    gauge = Gauge("g", "g", registry=registry)
    one = Level(gauge)
    one.inc(3)
    meters.flush()
    two = Level(gauge)
    two.inc(2)
    meters.flush()
    assert registry.get_sample_value("g") == 5
    two.inc(-2)
    meters.flush()
    assert registry.get_sample_value("g") == 3
