"""/metrics of a server whose workers die, whose versions change, or that starts again: nothing stale, nothing lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from modelyard.aliases import promoted, update
from tests.integration import ensemble_models
from tests.integration.calls import ask, row, until
from tests.integration.ensemble_models import LEFT, NAME, RIGHT
from tests.integration.harness import LABEL, Server, import_model, serve, start
from tests.integration.onnx_models import gather_table

TABLE = "counted"
FULL, HELD = 32, 6
MANY = 60.0
"""Seconds that a busy machine may take."""
MOST_SERIES = 2000
COUNTERS = ("_total", "_count", "_sum", "_bucket")


def workers(server: Server) -> dict[int, psutil.Process]:
    """The processes that serve: those with the port open, but for the supervisor."""
    found = {}
    for process in server.processes()[1:]:
        try:
            if any(each.status == psutil.CONN_LISTEN for each in process.net_connections("tcp")):
                found[process.pid] = process
        except psutil.NoSuchProcess:
            continue
    return found


def connections(process: psutil.Process, port: int) -> int:
    """How many callers it has."""
    return sum(
        each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port for each in process.net_connections("tcp")
    )


@contextmanager
def never_back(server: Server) -> Iterator[None]:
    """Meanwhile /metrics is read again and again: no counter goes back, none is gone."""
    faults: list[str] = []
    reads, end = [0], threading.Event()

    def watch() -> None:
        last: dict[str, float] = {}
        while not end.wait(0.05):
            try:
                found = server.metrics()
            except OSError:  # the worker that was asked is the one that was killed
                continue
            reads[0] += 1
            now = {key: value for key, value in found.items() if key.partition("{")[0].endswith(COUNTERS)}
            faults.extend(f"{key}: {last[key]} -> {now.get(key)}" for key in last if now.get(key, -1.0) < last[key])
            last = now

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    assert faults == []
    assert reads[0]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A model that waits 10 s for a full batch, and runs one at once: a request in flight costs no computing."""

    def edit(spec: dict[str, Any]) -> None:
        spec["batching"] |= {"max_batch_size": FULL, "max_queue_delay_ms": 10_000}
        spec["limits"] = {"queue_seconds": 60.0}

    import_model(tmp_path / "models", TABLE, gather_table(10_000), edit=edit)
    return tmp_path / "models"


def full(number: int) -> dict[str, Any]:
    """A batch of rows that nobody asked for before."""
    return {"index": np.arange(number * FULL, (number + 1) * FULL, dtype=np.int64).reshape(-1, 1)}


def ok(server: Server) -> float:
    return server.metric("modelyard_requests_total", outcome="ok", protocol="http")


@pytest.mark.timeout(300)
def test_a_killed_worker_leaves_its_counts_and_takes_its_gauges(table: Path) -> None:
    with serve(table, TABLE, workers=2, env={"MODELYARD_CACHE_FACTOR": "0"}) as server:
        until(lambda: len(workers(server)) == 2, "both workers listen", MANY)
        until(lambda: server.metric("modelyard_backend_active") == 2, "both have loaded the model", MANY)
        for number in range(10):
            ask(server, full(number))
        until(lambda: ok(server) == 10, "all are counted", MANY)
        cached = server.metric("modelyard_cache_bytes")
        assert cached > 0
        with ThreadPoolExecutor(HELD) as pool, never_back(server):
            calls = [pool.submit(hold, server, 5000 + number) for number in range(HELD)]
            until(lambda: server.metric("modelyard_in_flight_requests") == HELD, "all are in flight", MANY)
            victim = max(workers(server).values(), key=lambda each: connections(each, server.http_port))
            victim.send_signal(signal.SIGKILL)
            until(lambda: any(call.done() for call in calls), "its callers lose their connections", MANY)
            until(lambda: victim.pid not in workers(server), "it is gone", MANY)
            until(lambda: server.metric("modelyard_backend_active") == 2, "another has taken its place", MANY)
            answers = [call.result() for call in calls]
            until(lambda: server.metric("modelyard_in_flight_requests") == 0, "nothing is in flight", MANY)
        assert None in answers
        assert server.metric("modelyard_queue_rows") == 0
        assert server.metric("modelyard_cache_bytes") < cached + HELD * cached / 10, "what it had cached is gone"
        assert server.metric("modelyard_model_info") == server.metric("modelyard_model_ready") == 1
        kept = ok(server)
        assert kept == 10 + sum(status == 200 for status in answers)
        with never_back(server):
            for number in range(10, 30):
                ask(server, full(number))
            until(lambda: ok(server) == kept + 20, "the new worker's are added", MANY)


def hold(server: Server, number: int) -> int | None:
    """The status of a request that waits for others to fill its batch; None: its connection was lost."""
    tensor = {"name": "index", "datatype": "INT64", "shape": [1, 1], "data": [number]}
    try:
        return httpx.post(f"{server.url}/v2/models/{TABLE}/infer", json={"inputs": [tensor]}, timeout=MANY).status_code
    except httpx.TransportError:
        return None


@pytest.mark.timeout(300)
def test_when_all_workers_were_killed_only_counts_are_left(table: Path) -> None:
    with serve(table, TABLE, workers=2, env={"MODELYARD_CACHE_FACTOR": "0"}) as server:
        until(lambda: server.metric("modelyard_backend_active") == 2, "both have loaded the model", MANY)
        for number in range(6):
            ask(server, full(number))
        until(lambda: ok(server) == 6, "all are counted", MANY)
        rows = server.metric("modelyard_batch_rows_sum")
        before = workers(server)
        for process in before.values():
            process.send_signal(signal.SIGKILL)
        until(lambda: len(workers(server)) == 2 and not workers(server).keys() & before.keys(), "two new ones", MANY)
        server.wait_ready()
        until(lambda: server.metric("modelyard_backend_active") == 2, "both have loaded the model", MANY)
        assert ok(server) == 6
        assert server.metric("modelyard_batch_rows_sum") == rows
        assert server.metric("modelyard_cache_bytes") == 0
        ask(server, full(0))
        until(lambda: ok(server) == 7, "the next one is counted", MANY)


@pytest.mark.timeout(300)
def test_a_worker_that_cannot_start_again_does_not_end_the_others(table: Path) -> None:
    """Somebody is editing model.yaml when a worker dies: the other serves on, and a new one comes when it is whole."""
    spec = table / TABLE / "model.yaml"
    with serve(table, TABLE, workers=2) as server:
        until(lambda: server.metric("modelyard_backend_active") == 2, "both have loaded the model", MANY)
        text = spec.read_text()
        spec.write_text(f"{text}\ncolour: green\n")
        victim = min(workers(server).values(), key=lambda each: each.pid)
        victim.send_signal(signal.SIGKILL)
        until(lambda: "a worker cannot start" in server.log(), "the new one is refused", MANY)
        assert "colour" in server.log()
        assert ask(server, full(0)).version == "1"
        spec.write_text(text)
        until(lambda: server.metric("modelyard_backend_active") == 2, "another has taken its place", MANY)
        assert victim.pid not in workers(server)


@pytest.mark.timeout(300)
def test_a_server_that_was_killed_begins_anew(table: Path, tmp_path: Path) -> None:
    """Its counters too: Prometheus sees a reset. What it left on disk is removed by the next."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for turn in range(3):
        server = start(table, TABLE, tmp_path / "log", workers=2 - turn % 2, env={"TMPDIR": str(scratch)})
        try:
            server.wait_ready()
            assert ok(server) == 0
            assert server.metric("modelyard_in_flight_requests") == 0
            assert len(list(scratch.glob("modelyard-server-*"))) == 1
            ask(server, full(0))
            until(lambda server=server: ok(server) == 1, "it is counted", MANY)  # type: ignore[misc]  # bound on purpose
            if turn < 2:
                family = server.processes()
                for process in family:
                    process.kill()
                psutil.wait_procs(family, timeout=MANY)
        finally:
            server.stop()
    assert list(scratch.glob("modelyard-server-*")) == []


def of_model(server: Server, model: str) -> dict[str, float]:
    """Every series that is labelled with the model, without times."""
    found = server.metrics()
    return {
        key.replace(model, "*"): value
        for key, value in found.items()
        if f'model="{model}"' in key and "seconds_sum" not in key and "_bucket" not in key
    }


def check_bounds(server: Server) -> None:
    """At most 2,000 series of a pod, and ten values of a label of a metric."""
    keys = server.metrics()
    assert len(keys) <= MOST_SERIES
    values: dict[tuple[str, str], set[str]] = {}
    for key in keys:
        for label, text in LABEL.findall(key):
            values.setdefault((key.partition("{")[0], label), set()).add(text)
    assert {name: len(found) for name, found in values.items() if len(found) > 10 and name[1] != "le"} == {}


@pytest.mark.timeout(240)
def test_models_in_one_process_do_not_mix(tmp_path: Path) -> None:
    """An ensemble, a member with one version and one with four: what is asked of one moves its own series alone."""
    repository = ensemble_models.repository_of(tmp_path)
    for version in ("2", "3", "4"):
        ensemble_models.left(repository, version=version)
    with serve(repository, NAME) as server:
        time.sleep(0.5)
        check_bounds(server)
        before = {model: of_model(server, model) for model in (NAME, LEFT, RIGHT)}
        assert {key for key in before[LEFT] if 'version="' not in key} == {
            key for key in before[RIGHT] if 'version="' not in key
        }, "both have the same series"
        ask(ensemble_models.of(server, LEFT), {"x": row(3.0)})
        with httpx.Client(base_url=server.url) as client:
            assert client.post(f"/v2/models/{LEFT}/infer", json={"inputs": []}).status_code == 400
        after = {model: of_model(server, model) for model in (NAME, LEFT, RIGHT)}
        for model in (NAME, RIGHT):
            moving = {key for key in after[model] if after[model][key] != before[model][key] and "cost" not in key}
            assert moving == set()
        moved = {key for key in after[LEFT] if after[LEFT][key] != before[LEFT][key]}
        for name in ("requests_total", "cache_rows_total", "batch_rows_sum", "stage_duration_seconds_count"):
            assert any(key.startswith(f"modelyard_{name}") for key in moved), name
        assert server.metric("modelyard_input_invalid_total", model=LEFT) == 1


@pytest.mark.timeout(240)
def test_versions_that_come_and_go_leave_no_series_behind(tmp_path: Path) -> None:
    """Six promotes with room for two: the series of what is loaded, and old counts where a version comes back."""
    versions = [str(number) for number in range(1, 7)]
    for version in versions:
        ensemble_models.left(tmp_path, float(version), version)

    def promote(version: str) -> None:
        update(tmp_path / LEFT, lambda state: promoted(state, version))
        until(lambda: ask(server, {"x": row(1.0)}).version == version, f"{version} answers", MANY)

    update(tmp_path / LEFT, lambda state: promoted(state, "1"))
    env = {"MODELYARD_LOADED_VERSIONS": "2", "MODELYARD_RELOAD_SECONDS": "0.1"}
    with serve(tmp_path, LEFT, env=env) as server:
        until(lambda: ask(server, {"x": row(1.0)}).version == "1", "version 1 answers", MANY)
        for version in (*versions[1:], "1"):
            promote(version)
        until(lambda: server.metric("modelyard_model_info") <= 4, "the others were let go", MANY)
        keys = server.metrics()
        found = {key.split('version="')[1].split('"')[0] for key in keys if 'version="' in key}
        assert {"1", versions[-1]} <= found
        assert len(found) <= 4
        check_bounds(server)
        assert server.metric("modelyard_model_ready") == len(found), "what is not loaded is not said to be not ready"
        assert server.metric("modelyard_requests_total", version="1", outcome="ok") >= 2, "those of the first time too"
