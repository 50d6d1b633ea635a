"""rollout.sh with --prometheus: what it asks for, and what it does when it gets no answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import promql_parser
import pytest

from modelyard.authoring.ports import free_port
from tests.fakes.cluster.state import Image
from tests.integration.deploy_cluster import DIGESTS, ONE, TWO, Scene, scene

WATCHED = ("--watch", "4", "--timeout", "20")
FAILED, MISSING = 1, 8
Answer = Callable[[str], float | None]
"""A value, or None for an empty result; raises OSError for no answer."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as found:
        yield found


@contextmanager
def prometheus(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """The address of one that answers so, and what it was asked."""
    queries: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class calls it so)
            """Nothing."""

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = parse_qs(url.query)["query"][0]
            queries.append(query)
            try:
                value = 1.0 if query == "vector(1)" else answer(query)
            except OSError:
                self.send_error(503)
                return
            result = [] if value is None else [{"metric": {}, "value": [1.7e9, str(value)]}]
            data = {"status": "success", "data": {"resultType": "vector", "result": result}}
            body = json.dumps(data, separators=(",", ":")).encode()
            self.send_response(200 if url.path == "/api/v1/query" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", queries
    finally:
        server.shutdown()
        server.server_close()


def hash_of(cluster: Scene, image: str) -> str:
    found = [one for one in cluster.cluster.replica_sets.values() if image in str(one["spec"])]
    return str(found[0]["metadata"]["labels"]["pod-template-hash"]) if found else "none yet"


def figures(query: str, *, bad: float = 0.0, p99: float = 0.02) -> float:
    if query.startswith("histogram_quantile"):
        return p99
    if "error|timeout|shed" in query:
        return bad
    return 0.0 if 'outcome="client_error"' in query else 1000.0


@pytest.mark.parametrize(
    ("worse", "words"), [({"bad": 100.0}, "10.0 % of 1000 requests failed"), ({"p99": 0.9}, "p99 is 0.9 s")]
)
def test_what_prometheus_says_is_judged(cluster: Scene, worse: dict[str, float], words: str) -> None:
    def answer(query: str) -> float:
        return figures(query, **(worse if hash_of(cluster, TWO) in query else {}))

    with prometheus(answer) as (url, queries):
        done = cluster.run("rollout.sh", "digits", TWO, *WATCHED, "--prometheus", url)
    assert (done.code, cluster.image(), words in done.err) == (FAILED, ONE, True), done
    of = 'namespace="modelyard",pod=~"digits-server-{}-.*",model="digits",protocol!="ensemble"'
    for query in set(queries):
        promql_parser.parse(query)
    for image in (ONE, TWO):
        assert any(of.format(hash_of(cluster, image)) in query for query in queries), queries


def test_a_good_version_is_kept(cluster: Scene) -> None:
    with prometheus(figures) as (url, _):
        done = cluster.run("rollout.sh", "digits", TWO, *WATCHED, "--prometheus", f"{url}/")
    assert (done.code, "new: 1000 requests" in done.out, done.err) == (0, True, ""), done


def no_answer(_: str) -> float:
    raise OSError


def test_where_it_knows_nothing_the_pods_own_figures_are_judged(cluster: Scene) -> None:
    cluster.cluster.images[TWO] = Image("2", DIGESTS["2"], errors=0.3)
    with prometheus(lambda _: None) as (url, _):
        done = cluster.run("rollout.sh", "digits", TWO, *WATCHED, "--prometheus", url)
    assert (done.code, cluster.image(), "failed" in done.err) == (FAILED, ONE, True), done


def test_where_it_fails_meanwhile_the_pods_own_figures_are_judged(cluster: Scene) -> None:
    with prometheus(no_answer) as (url, _):
        done = cluster.run("rollout.sh", "digits", TWO, *WATCHED, "--prometheus", url)
    assert (done.code, "warning: Prometheus" in done.err) == (0, True), done


def test_one_that_cannot_be_reached_is_said_before_anything_is_changed(cluster: Scene) -> None:
    done = cluster.run("rollout.sh", "digits", TWO, "--prometheus", f"http://127.0.0.1:{free_port()}")
    assert (done.code, cluster.changes) == (MISSING, []), done
    assert "nothing was changed" in done.err
