"""A run that hangs or takes long on the device holds up neither the end of the process, nor the event loop while its
model is let go."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.calls import until
from tests.integration.gpu_asks import counts, shown, wait_active
from tests.integration.gpu_harness import CUDA, ENGINE, NAME, Gpu, echo_repository, gpu_server, gpu_with_engine
from tests.integration.harness import Server

EXIT_LOST = 70
SHUTDOWN_SECONDS = 1.0
EXIT_SECONDS = 15.0
SLOW_SECONDS = 5.0
PROMPT_SECONDS = 2.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`echo` on the whole chain."""
    return echo_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def device(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Gpu:
    """A device whose engine is built ahead of time."""
    return gpu_with_engine(tmp_path_factory.mktemp("gpu"), repository)


def leave_a_run(server: Server) -> None:
    """A caller runs out of patience; what it asked for goes on, on the device."""
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.5]}
    body = json.dumps({"inputs": [tensor], "parameters": {"timeout": 500_000}})
    reply = httpx.post(f"{server.url}/v2/models/{NAME}/infer", content=body, timeout=30)
    assert reply.status_code == http.client.GATEWAY_TIMEOUT, reply.text


def unload(server: Server) -> int:
    """The status, 0 when the process has ended instead."""
    try:
        return httpx.post(f"{server.url}/v2/repository/models/{NAME}/unload", timeout=60).status_code
    except httpx.TransportError:
        return 0


def slowest_live(server: Server, seconds: float) -> float:
    """Asked for as long as the server answers, or so many seconds: what the longest answer took."""
    slowest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            assert httpx.get(f"{server.url}/v2/health/live", timeout=30).status_code == http.client.OK
        except httpx.TransportError:
            break
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.1)
    return slowest


@pytest.mark.parametrize(("backend", "workers"), [(ENGINE, 1), (CUDA, 1), (ENGINE, 2)])
def test_sigterm_while_a_run_hangs_ends_the_process_in_time(
    backend: str, workers: int, repository: Path, device: Gpu
) -> None:
    wrong = backend != ENGINE
    device.set(wrong_answers=wrong)
    with gpu_server(repository, device, workers=workers, shutdown_seconds=SHUTDOWN_SECONDS) as server:
        if wrong:
            until(lambda: counts(server).get("build differs") == 1, "the engine was refused", 30)
        else:
            until(lambda: shown(server) == {ENGINE: workers}, "all are on the engine", 60)
        device.set(wrong_answers=wrong, execute={"hang": True}, ort_cuda={"hang": True})
        leave_a_run(server)
        server.process.terminate()
        assert server.process.wait(EXIT_SECONDS) == (EXIT_LOST if workers == 1 else 0)
        line = "this process is ended at once" if workers == 1 else "is not closed after"  # a signal's end
        assert line in server.log()
    device.set()


def test_who_unloads_while_a_run_takes_long_waits_alone(repository: Path, device: Gpu) -> None:
    device.set()
    with gpu_server(repository, device, admin=True) as server, ThreadPoolExecutor(1) as threads:
        wait_active(server, ENGINE)
        device.set(execute={"seconds": SLOW_SECONDS})
        leave_a_run(server)
        unloading = threads.submit(unload, server)
        assert slowest_live(server, SLOW_SECONDS) < PROMPT_SECONDS
        assert unloading.result() == http.client.OK
        device.set()
        assert server.stop() == 0


def test_a_run_that_hangs_while_its_model_is_unloaded_ends_the_process(repository: Path, device: Gpu) -> None:
    """The watch goes on until the last run has ended."""
    device.set()
    with (
        gpu_server(repository, device, admin=True, watchdog_seconds=2.0, shutdown_seconds=SHUTDOWN_SECONDS) as server,
        ThreadPoolExecutor(1) as threads,
    ):
        wait_active(server, ENGINE)
        device.set(execute={"hang": True})
        leave_a_run(server)
        unloading = threads.submit(unload, server)
        assert slowest_live(server, EXIT_SECONDS) < PROMPT_SECONDS
        assert server.process.wait(EXIT_SECONDS) == EXIT_LOST
        assert "is lost to this process" in server.log()
        assert unloading.result() in {0, http.client.OK}
    device.set()
