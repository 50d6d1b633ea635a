"""A loaded server seen from outside: what its processes hold, what its metrics say, how probes fare."""

from __future__ import annotations

import http.client
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

from loadtests.bench.core import HOST, LOGS, Recipe, Server, cores
from loadtests.bench.models import model_path
from loadtests.bench.process import pinned, tree
from loadtests.bench.statistics import percentile

READY = "/v2/health/ready"
PROBE_SECONDS = 0.1
PROBE_TIMEOUT = 5.0
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Metrics = list[tuple[str, dict[str, str], float]]


def places() -> tuple[list[int] | None, list[int] | None]:
    """Cores of the server and of its clients: apart, so that the client is not the server's load; None: all."""
    own = cores()
    return ([own[0]], own[1:]) if len(own) > 1 else (None, None)


@contextmanager
def serving(recipe: Recipe, model: str, use: list[int] | None = None) -> Iterator[Server]:
    """A server of `model`, on the cores `use`, with a log of its own."""
    log = LOGS / f"{recipe.name.replace(' ', '-')}-{model}-{os.getpid()}.log"
    with ExitStack() as stack:
        with pinned(use):
            server = stack.enter_context(recipe.start(model, model_path(model), log))
        yield server


def http_port(server: Server) -> int:
    """The port of its HTTP faces."""
    return next(endpoint.port for face, endpoint in server.endpoints.items() if face != "oip-grpc")


# --- metrics -----------------------------------------------------------------------------------------------------


def metrics(server: Server) -> Metrics:
    """Every sample of /metrics."""
    connection = http.client.HTTPConnection(HOST, http_port(server), timeout=10)
    try:
        connection.request("GET", "/metrics")
        return parsed(connection.getresponse().read().decode())
    finally:
        connection.close()


def parsed(text: str) -> Metrics:
    """(name, labels, value) of every line of an exposition that is a sample."""
    found = (_SAMPLE.match(line) for line in text.splitlines() if not line.startswith("#"))
    return [(one[1], dict(_LABEL.findall(one[2] or "")), float(one[3])) for one in found if one]


def by_label(samples: Metrics, name: str, label: str) -> dict[str, float]:
    """The samples called `name`, added up by the value of one of their labels."""
    sums: dict[str, float] = {}
    for sample, labels, value in samples:
        if sample == name and label in labels:
            sums[labels[label]] = sums.get(labels[label], 0.0) + value
    return sums


def decided(server: Server, tier: str) -> bool:
    """Has a server of ours decided whether this tier of its cache is worth asking?"""
    return by_label(metrics(server), "modelyard_cache_lookup_cost_seconds", "tier").get(tier, 0.0) > 0


# --- series over time ----------------------------------------------------------------------------------------------


@dataclass
class Held:
    """What a process tree holds, over time."""

    pid: int
    period: float = 1.0
    count_series: Callable[[], int] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def sample(self, second: float) -> None:
        """Add a row."""
        rss, fds, threads = 0, 0, 0
        for process in tree(self.pid):
            try:
                rss += process.memory_info().rss
                fds += process.num_fds()
                threads += process.num_threads()
            except psutil.NoSuchProcess:
                continue
        row: dict[str, Any] = {"second": round(second, 2), "rss_bytes": rss, "fds": fds, "threads": threads}
        if self.count_series is not None:
            try:
                row["series"] = self.count_series()
            except (OSError, http.client.HTTPException):
                row["series"] = None  # the server was too busy to say; the row stands without it
        self.rows.append(row)

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """Times and values of one column, without what is missing."""
        kept = [(row["second"], float(row[name])) for row in self.rows if row.get(name) is not None]
        return [second for second, _ in kept], [value for _, value in kept]


@dataclass
class Probes:
    """A probe as an orchestrator sends it: a new connection each time, one at a time."""

    port: int
    period: float = PROBE_SECONDS
    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def sample(self, _: float) -> None:
        """Probe once."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PROBE_TIMEOUT)
        try:
            connection.request("GET", READY)
            status = connection.getresponse().status
            if status != http.client.OK:
                self.failures.append(f"status {status}")
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(type(error).__name__)
        finally:
            connection.close()
        # a failed one took its time too
        self.latencies.append(time.perf_counter() - began)

    def summary(self) -> dict[str, Any]:
        """For the result."""
        shown = {f"p{percent}": percentile(self.latencies, percent) for percent in (50, 99)}
        worst = max(self.latencies, default=0.0)
        return {"count": len(self.latencies), "failed": len(self.failures), **shown, "max": worst}


@contextmanager
def observed(*watches: Held | Probes) -> Iterator[None]:
    """Sample each of `watches` in a thread of its own, every `period` seconds, while the block runs."""
    stop, began = threading.Event(), time.monotonic()
    threads = [threading.Thread(target=_sample, args=(one, stop, began), daemon=True) for one in watches]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(2 * PROBE_TIMEOUT)


def _sample(watch: Held | Probes, stop: threading.Event, began: float) -> None:
    due = time.monotonic()
    while not stop.is_set():
        watch.sample(time.monotonic() - began)
        # a sample that took longer than its period is not made up for: probes never come in a crowd
        due = max(due + watch.period, time.monotonic())
        stop.wait(due - time.monotonic())
