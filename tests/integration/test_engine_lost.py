"""A sticky CUDA error: the context is dead for the whole process, whoever met it. Only this row of failures loses
requests, and each of them is told to come back.

    error 700 -> what is in flight: 503 with Retry-After, UNAVAILABLE -> not ready -> exit 70 -> somebody starts anew
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.calls import until
from tests.integration.gpu_asks import (
    Reply,
    ask_grpc,
    ask_http,
    check_active,
    check_ready,
    config,
    counts,
    metric,
    readiness,
    replies,
    shown,
    wait_active,
)
from tests.integration.gpu_harness import CPU, CUDA, ENGINE, NAME, Gpu, echo_repository, gpu_server, gpu_with_engine
from tests.integration.harness import Server

EXIT_LOST = 70
EXIT_SECONDS = 12.0
RESTART_SECONDS = 60.0
AT_ONCE = 6


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`echo` on the whole chain, one row at a time, so that several runs are in flight."""

    def edit(spec: dict[str, Any]) -> None:
        spec["batching"] = {"max_batch_size": 1}

    return echo_repository(tmp_path_factory.mktemp("repository"), edit)


@pytest.fixture(scope="module")
def device(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Gpu:
    """A device whose engine is built ahead of time, as in an image."""
    return gpu_with_engine(tmp_path_factory.mktemp("gpu"), repository)


@dataclass(frozen=True)
class Case:
    """The backend that meets the error, and which one."""

    backend: str
    code: int

    @property
    def faults(self) -> dict[str, Any]:
        """For the device."""
        return {("execute" if self.backend == ENGINE else "ort_cuda"): {"error": self.code, "seconds": 0.3}}


CASES = [Case(ENGINE, 700), Case(ENGINE, 719), Case(ENGINE, 999), Case(CUDA, 700)]


def all_at_once(server: Server) -> list[Reply]:
    """Questions that are in flight together, over both wires; none takes longer than a server takes to end."""
    asks: list[Callable[[Server, float], Reply]] = [ask_http, ask_grpc] * AT_ONCE
    with ThreadPoolExecutor(len(asks)) as threads:
        calls = [threads.submit(ask, server, 1.5 + number) for number, ask in enumerate(asks)]
    return [call.result() for call in calls]


def last_samples(server: Server) -> list[tuple[float, dict[str, float]]]:
    """modelyard_model_ready and what was counted, again and again until the process ends: it has a second for that."""
    samples = []
    end = time.monotonic() + EXIT_SECONDS
    while server.process.poll() is None and time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException):
            samples.append((metric(server, "model_ready"), counts(server)))
    return samples


def readiness_at_the_end(server: Server) -> dict[str, bool]:
    """What the probes say as soon as the first of them says no."""
    until(lambda: server.status("/readyz") != 200, "not ready", 10)
    return readiness(server)


def check_refused(reply: Reply) -> None:
    """It says that it failed, that it is worth to come back, and nothing of the cause."""
    assert reply.status in {"503", "UNAVAILABLE"}, reply
    assert float(reply.retry_after) > 0, reply
    assert "CUDA" not in reply.text, reply


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.backend} {case.code}")
def test_a_sticky_error_ends_the_process(case: Case, repository: Path, device: Gpu, tmp_path: Path) -> None:
    """Where the engine is wrong, it is ONNX Runtime that works on the device."""
    device.set(wrong_answers=case.backend != ENGINE)
    with gpu_server(repository, device) as server:
        if case.backend == ENGINE:
            wait_active(server, ENGINE)
        else:
            until(lambda: counts(server).get("build differs") == 1, "the engine was refused", 30)
        check_ready(server, True)
        assert [reply.backend for reply in replies(server, 2.5)] == [case.backend] * 2
        before = counts(server)
        device.set(wrong_answers=case.backend != ENGINE, **case.faults)
        with ThreadPoolExecutor(2) as threads:
            asked = threads.submit(all_at_once, server)
            said = threads.submit(readiness_at_the_end, server)
            samples = last_samples(server)
            for reply in asked.result():
                check_refused(reply)
        assert set(said.result().values()) == {False}, said
        lost = [before | {f"error {case.backend} lost": runs} for runs in (1, 2)]  # in one lane, or in both
        assert any((0, counted) in samples for counted in lost), samples[-3:]
        assert server.process.wait(EXIT_SECONDS) == EXIT_LOST
        assert "this process ends, to be started again" in server.log()


def test_a_sticky_error_before_the_engine_is_adopted_costs_no_server(repository: Path, tmp_path: Path) -> None:
    """An engine is tried in a child: one that faults would end the server at every start."""
    device = Gpu(tmp_path)
    assert device.run("engines", "build", NAME, "--repository", repository).code == 0
    device.set(execute={"error": 700})
    with gpu_server(repository, device) as server:
        until(lambda: "700" in config(server).get("degraded", ""), "the engine is given up", 40)
        check_ready(server, True)
        check_active(server, CUDA, ENGINE, "700")
        assert counts(server) == {"build failed": 1, f"fallback {ENGINE} unavailable": 1}
        assert device.built() == 2, "ahead of time, and once more"
        assert device.plans() == []
        assert server.stop() == 0


def test_the_supervisor_starts_a_new_worker(repository: Path, device: Gpu) -> None:
    """The other worker serves on; each has a context of its own."""
    device.set()
    with gpu_server(repository, device, workers=2) as server:
        until(lambda: shown(server) == {ENGINE: 2}, "both workers are on it", 60)
        device.set(execute={"error": 700, "times": 1})
        refused = ask_http(server, 1.5)
        check_refused(refused)
        device.set()
        until(lambda: "this process ends" in server.log(), "the worker ends", 5)
        until(lambda: shown(server) == {ENGINE: 1}, "one worker is gone", EXIT_SECONDS)
        for _ in range(5):
            assert [reply.ok for reply in replies(server, 2.5)] == [True, True]
        until(lambda: shown(server) == {ENGINE: 2}, "a new worker takes its place", RESTART_SECONDS)
        check_ready(server, True)
        check_active(server, ENGINE, workers=2)
        assert counts(server) == {"build found": 3, f"error {ENGINE} lost": 1}
        assert server.stop() == 0


def test_an_error_that_a_restart_does_not_need(repository: Path, device: Gpu) -> None:
    """What a caller, or one run, did wrong costs no process: the batch runs on the next link, nobody is told."""
    device.set(wrong_answers=True)
    with gpu_server(repository, device) as server:
        until(lambda: counts(server).get("build differs") == 1, "the engine was refused", 30)
        device.set(wrong_answers=True, ort_cuda={"error": "memory", "times": 2})
        assert [reply.ok for reply in replies(server, 2.5)] == [True, True]
        assert counts(server)[f"error {CUDA} memory"] == 2
        assert counts(server)[f"fallback {CUDA} memory"] == 2
        check_ready(server, True)
        check_active(server, CUDA, ENGINE, "differs")
        device.set(wrong_answers=True, ort_cuda={"error": 1})
        for number in range(3):
            assert ask_http(server, 1.5 + number).ok
        check_ready(server, True)
        check_active(server, CPU, ENGINE, CUDA)
        assert counts(server)[f"error {CUDA} runtime"] == 3
        assert counts(server)[f"fallback {CUDA} runtime"] == 3
        assert server.stop() == 0
