"""Reading a server from outside: its metrics, its processes, a probe."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loadtests.bench.observe import Held, Probes, by_label, observed, parsed
from modelyard.authoring.ports import free_port

TEXT = """# HELP modelyard_cache_rows_total Rows by what the cache said.
# TYPE modelyard_cache_rows_total counter
modelyard_cache_rows_total{model="a",result="hit_memory"} 3.0
modelyard_cache_rows_total{model="b",result="hit_memory"} 4.0
modelyard_cache_rows_total{model="a",result="miss"} 1e2
modelyard_cache_up 1.0
odd{text="a \\"quoted\\" } brace"} 5
"""


def test_every_sample_is_read() -> None:
    samples = parsed(TEXT)
    assert len(samples) == 5
    assert ("modelyard_cache_up", {}, 1.0) in samples
    assert ("odd", {"text": 'a \\"quoted\\" } brace'}, 5.0) in samples


def test_samples_are_added_up_by_a_label() -> None:
    samples = parsed(TEXT)
    assert by_label(samples, "modelyard_cache_rows_total", "result") == {"hit_memory": 7.0, "miss": 100.0}
    assert by_label(samples, "modelyard_cache_up", "result") == {}


def test_held_counts_this_process() -> None:
    held = Held(os.getpid(), period=0.01, count_series=lambda: 7)
    with observed(held):
        time.sleep(0.1)
    assert len(held.rows) >= 2
    row = held.rows[0]
    assert row["rss_bytes"] > 2**20
    assert row["fds"] > 0
    assert row["threads"] >= 2
    assert held.column("series")[1][0] == 7.0


def test_a_server_too_busy_for_its_metrics_leaves_a_gap() -> None:
    def refuse() -> int:
        raise ConnectionRefusedError

    held = Held(os.getpid(), count_series=refuse)
    held.sample(1.0)
    assert held.rows[0]["series"] is None
    assert held.column("series") == ([], [])


@pytest.fixture
def slow_server() -> Iterator[int]:
    """A server that takes 50 ms to say that it is ready, and every third time says that it is not."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            time.sleep(0.05)
            self.send_response(503 if len(asked) % 3 == 0 else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_probes_are_timed_and_counted(slow_server: int) -> None:
    probes = Probes(slow_server, period=0.01)
    for _ in range(3):
        probes.sample(0.0)
    summary = probes.summary()
    assert summary["count"] == 3
    assert summary["failed"] == 1
    assert summary["p50"] >= 0.05


def test_a_probe_that_nobody_answers_is_a_failure() -> None:
    probes = Probes(free_port())
    probes.sample(0.0)
    assert probes.summary()["failed"] == 1
