"""An engine that fails while it runs, in a way that the process survives: nothing is lost, and all of it is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.calls import PROTOCOLS, ask, until
from tests.integration.gpu_asks import (
    Moved,
    active,
    ask_grpc,
    ask_http,
    check_active,
    check_ready,
    counts,
    metric,
    readiness,
    replies,
    wait_active,
)
from tests.integration.gpu_harness import CUDA, ENGINE, NAME, Gpu, echo_repository, gpu_server, reload
from tests.integration.harness import Server, import_model
from tests.integration.onnx_models import identity

BREAKER = 3
REPROBE_SECONDS = 30.0
WATCHDOG_SECONDS = 2.5
EXIT_LOST = 70
EXIT_SECONDS = 12.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`echo` on the whole chain."""
    return echo_repository(tmp_path_factory.mktemp("repository"), lanes=3)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Gpu:
    """What the tests that share a server steer."""
    return Gpu(tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="module")
def server(device: Gpu, repository: Path) -> Iterator[Server]:
    """A server with an engine."""
    with gpu_server(repository, device, admin=True) as running:
        wait_active(running, ENGINE)
        yield running
        assert running.stop() == 0


def test_for_want_of_memory_the_next_link_runs_the_batch_and_lanes_are_closed(server: Server, device: Gpu) -> None:
    """Three lanes, four runs without memory: two lanes are closed, the last one stays and is as good as before."""
    device.set(execute={"error": 2, "times": 4})
    moved, said = Moved(server), server.log()
    for number in range(2):
        assert [reply.ok for reply in replies(server, 1.5 + number)] == [True, True]
    assert moved() == {f"error {ENGINE} memory": 4, f"fallback {ENGINE} memory": 4}
    lanes = [line for line in server.log().removeprefix(said).splitlines() if "lanes are left" in line]
    assert [line.partition("memory: ")[2] for line in lanes] == ["2 lanes are left", "1 lanes are left"]
    check_ready(server, True)
    check_active(server, ENGINE)
    assert moved() == {f"error {ENGINE} memory": 4, f"fallback {ENGINE} memory": 4}


def test_an_engine_that_finds_no_memory_at_all_is_not_adopted(server: Server, device: Gpu) -> None:
    """It stays in the store: nothing is wrong with it."""
    device.set(malloc_fails_after=0)
    moved, plans = Moved(server), device.plans()
    reload(server)
    until(lambda: moved().get(f"fallback {ENGINE} unavailable") == 1, "the engine is given up", 30)
    assert moved() == {"build failed": 1, f"fallback {ENGINE} unavailable": 1}
    check_ready(server, True)
    check_active(server, CUDA, ENGINE, "memory")
    assert device.plans() == plans
    device.set()
    reload(server)
    wait_active(server, ENGINE)
    assert moved()["build found"] == 1


def test_when_no_backend_has_memory_callers_are_told_to_come_back(device: Gpu, tmp_path: Path) -> None:
    def edit(spec: dict[str, Any]) -> None:
        spec["backends"] = [{"name": ENGINE}, {"name": CUDA}]

    on_device = echo_repository(tmp_path / "repository", edit)
    gpu = Gpu(tmp_path)
    with gpu_server(on_device, gpu) as server:
        wait_active(server, ENGINE)
        gpu.set(execute={"error": 2}, ort_cuda={"error": "memory"})
        refused = replies(server, 1.5)
        assert [reply.status for reply in refused] == ["503", "UNAVAILABLE"]
        assert all(float(reply.retry_after) > 0 for reply in refused), refused
        assert counts(server)[f"error {ENGINE} memory"] == counts(server)[f"error {CUDA} memory"] == 2
        assert metric(server, "requests_total", outcome="shed") == 2
        check_ready(server, True)
        gpu.set()
        check_active(server, ENGINE)
        assert server.stop() == 0


def test_shapes_that_the_engine_was_not_built_for_run_on_the_next_link(tmp_path: Path) -> None:
    """However often they come: nothing is wrong with the engine."""

    def edit(spec: dict[str, Any]) -> None:
        widths = {"min": [1], "opt": [4], "max": [8]}
        spec["backends"] = [{"name": ENGINE, "shapes": {"x": widths}}, {"name": CUDA}]
        spec["cache"] = {"enabled": False}

    import_model(tmp_path / "repository", NAME, identity("FP32", (-1, -1)), edit=edit)
    gpu = Gpu(tmp_path)
    with gpu_server(tmp_path / "repository", gpu) as server:
        wait_active(server, ENGINE)
        moved = Moved(server)
        for width in (1, 8, 9, 20, 30, 40, 3):
            for protocol in PROTOCOLS:
                x = np.arange(2 * width, dtype=np.float32).reshape(2, width)
                np.testing.assert_array_equal(ask(server, {"x": x}, protocol).only, x)
        assert moved() == {f"error {ENGINE} shape": 8, f"fallback {ENGINE} shape": 8}
        check_ready(server, True)
        check_active(server, ENGINE)
        assert server.stop() == 0


class Broken:
    """A server whose engine failed until the chain moved on; what became of it."""

    def __init__(self, server: Server, gpu: Gpu) -> None:
        self.server, self.gpu = server, gpu
        wait_active(server, ENGINE)
        gpu.set(execute={"error": 1})
        self.replies = [reply for number in range(2) for reply in replies(server, 1.5 + number)]
        self.at = time.monotonic()


@pytest.fixture(scope="module")
def broken(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    """Made early, so that other tests run while the chain waits until it tries again."""
    gpu = Gpu(tmp_path_factory.mktemp("broken"))
    with gpu_server(repository, gpu) as server:
        yield Broken(server, gpu)
        assert server.stop() == 0


def test_an_engine_that_fails_again_and_again_is_left(broken: Broken) -> None:
    server = broken.server
    assert [reply.ok for reply in broken.replies] == [True] * 4, "nothing is lost"
    assert counts(server) == {
        "build built": 1,
        f"error {ENGINE} runtime": BREAKER,
        f"fallback {ENGINE} runtime": BREAKER,
    }
    check_ready(server, True)
    check_active(server, CUDA, ENGINE, "failed while it ran")
    assert f"now on {CUDA}, before on {ENGINE}" in server.log()
    broken.gpu.set()


def test_a_run_that_hangs_and_comes_back(repository: Path, tmp_path: Path) -> None:
    """Not ready while it lasts; who comes meanwhile is served by the next link, who waited gets the right answer."""
    gpu = Gpu(tmp_path)
    with gpu_server(repository, gpu, watchdog_seconds=WATCHDOG_SECONDS) as server:
        wait_active(server, ENGINE)
        gpu.set(execute={"hang": True})
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(ask_grpc, server, 7.5)
            until(lambda: active(server) == CUDA, "the watch has seen it", 2 * WATCHDOG_SECONDS)
            assert metric(server, "model_ready") == 0
            assert ask_http(server, 2.5).ok
            assert set(readiness(server).values()) == {False}
            assert metric(server, "backend_run_age_seconds") > WATCHDOG_SECONDS
            gpu.set()
            answered = waiting.result()
        assert (answered.ok, answered.number) == (True, 7.5)
        assert counts(server) == {"build built": 1, f"error {ENGINE} hang": 1, f"fallback {ENGINE} hang": 1}
        until(lambda: metric(server, "model_ready") == 1, "ready again", 5)
        check_ready(server, True)
        check_active(server, ENGINE)  # the run was right in the end: the engine works again
        assert server.stop() == 0


def test_a_run_that_never_comes_back_ends_the_process(repository: Path, tmp_path: Path) -> None:
    """Nobody waits for ever: who hangs, and who stands behind it, is refused."""
    gpu = Gpu(tmp_path)
    with gpu_server(repository, gpu, watchdog_seconds=1.0, executors=1) as server:
        wait_active(server, ENGINE)
        gpu.set(execute={"hang": True})
        began = time.monotonic()
        asks = (ask_http, ask_grpc) * 2
        with ThreadPoolExecutor(len(asks)) as threads:
            calls = [threads.submit(ask, server, 1.5) for ask in asks]
            until(lambda: server.status("/readyz") != 200, "not ready", 5)
            answered = [call.result() for call in calls]
        assert server.process.wait(EXIT_SECONDS) == EXIT_LOST
        assert time.monotonic() - began < EXIT_SECONDS
        assert {reply.status for reply in answered} <= {"503", "UNAVAILABLE"}, answered
        assert all(float(reply.retry_after) > 0 for reply in answered), answered
        assert "hangs" in server.log()


def test_the_engine_is_tried_again_and_taken_back(broken: Broken) -> None:
    """One request tries it; the others have not waited for that."""
    server = broken.server
    until(lambda: ask_http(server, 2.5).ok and active(server) == ENGINE, "the engine is tried", REPROBE_SECONDS + 5)
    assert time.monotonic() - broken.at >= REPROBE_SECONDS - 1
    check_active(server, ENGINE)
    check_ready(server, True)
    assert counts(server)[f"error {ENGINE} runtime"] == BREAKER
