"""The figures for Prometheus: names, labels, buckets that add up."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from loadtests.load.exporter import BUCKETS, Exporter, Now, buckets
from loadtests.load.tally import Tally


@given(st.dictionaries(st.floats(0, 20_000), st.integers(1, 100)))
def test_buckets_are_cumulative_and_end_with_all(times: dict[float, int]) -> None:
    found = buckets(times)
    counts = [count for _, count in found]
    assert counts == sorted(counts)
    assert counts[-1] == sum(times.values())
    assert [float(edge) for edge, _ in found] == [*BUCKETS, float("inf")]


def test_what_prometheus_reads() -> None:
    tally = Tally({"pair json": Counter(good=3, error=1)}, owed=Counter({"pair json": 5}))
    registry = CollectorRegistry()
    now = Now(tally, {"pair json": {4.0: 3, 700.0: 1}}, {"pair json": 712.0}, 20, 2)
    registry.register(Exporter(["pair json", "pair grpc"], lambda: now))
    text = generate_latest(registry).decode()
    for line in (
        'modelyard_loadtest_requests_total{model="pair",outcome="good",protocol="json"} 3.0',
        'modelyard_loadtest_requests_total{model="pair",outcome="wrong",protocol="grpc"} 0.0',
        'modelyard_loadtest_due_requests_total{model="pair",protocol="json"} 5.0',
        'modelyard_loadtest_request_duration_seconds_bucket{le="0.005",model="pair",protocol="json"} 3.0',
        'modelyard_loadtest_request_duration_seconds_count{model="pair",protocol="json"} 4.0',
        'modelyard_loadtest_request_duration_seconds_sum{model="pair",protocol="json"} 0.712',
        "modelyard_loadtest_users 20.0",
        "modelyard_loadtest_workers 2.0",
    ):
        assert line in text.replace(",}", "}"), line
