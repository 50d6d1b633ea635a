"""What is counted of every request: outcomes, percentiles, windows."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.bench.ledger import OUTCOMES, Latencies, Ledger


def test_percentiles_are_within_a_bucket_of_the_true_ones() -> None:
    values = np.random.default_rng(1).lognormal(-6, 1, 50_000)
    latencies = Latencies()
    for part in np.array_split(values, 7):
        latencies.add(part)
    for percent in (50, 90, 99, 99.9):
        assert latencies.percentile(percent) == pytest.approx(np.percentile(values, percent), rel=0.015)
    assert latencies.count == 50_000
    assert latencies.longest == values.max()
    assert latencies.percentile(100) == values.max()


def test_the_histogram_holds_what_is_below_and_above_its_range() -> None:
    latencies = Latencies()
    latencies.add(np.array([0.0, -0.001, 1e9]))
    assert latencies.count == 3
    assert latencies.longest == 1e9


def test_nothing_counted_is_zero() -> None:
    assert Latencies().percentile(99) == 0.0
    assert Ledger().summary()["counts"] == dict.fromkeys(OUTCOMES, 0)


def test_refusals_have_latencies_of_their_own() -> None:
    ledger = Ledger()
    for _ in range(100):
        ledger.add("oip-json", "ok", 0.1, 0.5, 0.0)
        ledger.add("oip-json", "refused", 0.1, 0.002, 0.0)
    ledger.close()
    latency = ledger.summary()["latency"]
    assert latency["answered"]["p99"] == pytest.approx(0.5, rel=0.02)
    assert latency["refused"]["p99"] == pytest.approx(0.002, rel=0.02)


def test_windows_are_those_of_the_intended_time() -> None:
    ledger = Ledger(window=1.0)
    ledger.add("oip-json", "ok", 0.9, 5.0, 0.0)  # done much later
    ledger.add("oip-grpc", "refused", 1.1, 0.1, 0.0)
    ledger.add("oip-json", "unsent", 1.2, 0.1, 0.1)
    ledger.close()
    first, second = ledger.windows
    assert (first["second"], first["offered"], first["ok"]) == (0.0, 1, 1)
    assert (second["second"], second["offered"], second["refused"], second["unsent"]) == (1.0, 2, 1, 1)
    assert first["answered_seconds"]["p50"] == 5.0
    assert ledger.summary()["lanes"] == {"oip-json": {"ok": 1, "unsent": 1}, "oip-grpc": {"refused": 1}}


def test_only_windows_that_are_over_are_closed_and_nothing_gets_lost() -> None:
    ledger = Ledger(window=1.0)
    ledger.add("oip-json", "ok", 0.5, 0.1, 0.0)
    ledger.add("oip-json", "ok", 1.5, 0.1, 0.0)
    ledger.close(until=1.9)
    assert [row["second"] for row in ledger.windows] == [0.0]
    ledger.add("oip-json", "lost", 0.6, 9.0, 0.0)  # of a window that is closed
    ledger.close()
    assert sum(row["offered"] for row in ledger.windows) == 3
    assert ledger.counts["lost"] == 1


def test_what_was_never_sent_says_nothing_of_the_schedule() -> None:
    ledger = Ledger()
    ledger.add("oip-json", "ok", 0.1, 0.1, 0.001)
    ledger.add("oip-json", "unsent", 0.1, 3.0, 3.0)
    ledger.close()
    assert ledger.summary()["latency"]["schedule"]["max"] == pytest.approx(0.001)


def test_errors_are_kept_by_kind_and_bounded() -> None:
    ledger = Ledger()
    for index in range(50):
        ledger.note(f"kind {index}")
        ledger.note("kind 0")
    assert len(ledger.errors) == 10
    assert ledger.errors["kind 0"] == 51


def test_each_lane_has_latencies_of_its_own() -> None:
    ledger = Ledger()
    for _ in range(10):
        ledger.add("oip-json", "ok", 0.1, 0.01, 0.0)
        ledger.add("oip-grpc", "late", 0.1, 2.0, 0.0)
        ledger.add("oip-grpc", "expired", 0.1, 9.0, 0.0)
    ledger.close()
    lanes = ledger.summary()["lane_latency"]
    assert {lane: (one["count"], one["max"]) for lane, one in lanes.items()} == {
        "oip-json": (10, 0.01),
        "oip-grpc": (10, 2.0),
    }
