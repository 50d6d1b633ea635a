"""The figures of a run for Prometheus, from locust's own statistics and the tally, made anew at each scrape.

modelyard_loadtest_requests_total{model, protocol, outcome}       good | wrong | error
modelyard_loadtest_request_duration_seconds{model, protocol}      as the client saw it
modelyard_loadtest_due_requests_total{model, protocol}            what the users owed
modelyard_loadtest_users, modelyard_loadtest_workers
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from loadtests.load.tally import OUTCOMES, Tally

PREFIX = "modelyard_loadtest_"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Those of modelyard_request_duration_seconds: server and client can be laid over each other."""
LABELS = ("model", "protocol")


@dataclass(frozen=True, slots=True)
class Now:
    """A moment of a run."""

    tally: Tally
    times: Mapping[str, Mapping[float, int]]
    """By the name of the requests: milliseconds to how many, as locust rounds them."""
    totals: Mapping[str, float]
    """By the name of the requests: all milliseconds."""
    users: int
    workers: int


class Exporter(Collector):
    def __init__(self, names: Iterable[str], now: Callable[[], Now]) -> None:
        """`names`: '<model> <protocol>'."""
        self._names = list(names)
        self._now = now

    def collect(self) -> Iterable[Metric]:
        now = self._now()
        yield GaugeMetricFamily(f"{PREFIX}users", "Users that ask now.", now.users)
        yield GaugeMetricFamily(f"{PREFIX}workers", "Processes that have users.", now.workers)
        requests = CounterMetricFamily(
            f"{PREFIX}requests", "Requests by outcome: good, wrong (answer), error.", labels=(*LABELS, "outcome")
        )
        due = CounterMetricFamily(f"{PREFIX}due_requests", "Requests that the users owed.", labels=LABELS)
        times = HistogramMetricFamily(
            f"{PREFIX}request_duration_seconds",
            "From sending to the last byte, as the client saw it.",
            labels=LABELS,
        )
        for name in self._names:
            labels = name.rsplit(" ", 1)
            counts: Mapping[str, int] = now.tally.outcomes.get(name, {})
            for outcome in OUTCOMES:
                requests.add_metric([*labels, outcome], counts.get(outcome, 0))
            due.add_metric(labels, now.tally.owed.get(name, 0))
            times.add_metric(labels, buckets(now.times.get(name, {})), now.totals.get(name, 0.0) / 1000)
        yield from (requests, due, times)


def buckets(times: Mapping[float, int]) -> list[tuple[str, float]]:
    """Cumulative, of milliseconds and how many."""
    edges = [(repr(edge), sum(n for ms, n in times.items() if ms <= edge * 1000)) for edge in BUCKETS]
    return [*edges, ("+Inf", float(sum(times.values())))]


def listen(exporter: Exporter, host: str, port: int) -> Any:
    """Serve it; what is returned has `shutdown`. Raises OSError when the port cannot be had."""
    registry = CollectorRegistry()
    registry.register(exporter)
    server, _ = start_http_server(port, host, registry)
    return server
