"""Builds that fail: the model serves on as before, and everybody is told why there is no engine.

One server loads its model again for each case; the device is steered meanwhile.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.calls import until
from tests.integration.gpu_asks import (
    Moved,
    active,
    check_active,
    check_ready,
    config,
    counts,
    metric,
    wait_active,
)
from tests.integration.gpu_harness import CUDA, ENGINE, NAME, Gpu, echo_repository, gpu_server, reload
from tests.integration.harness import Server

WORKSPACE_MIB = 400
EXIT_SECONDS = 8.0
AGAIN = "once more with a quarter of the workspace"
LATER = "the next attempt at its engine comes in"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`echo` on the whole chain."""
    return echo_repository(tmp_path_factory.mktemp("repository"), workspace_mib=WORKSPACE_MIB)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Gpu:
    """What all tests of this file steer."""
    return Gpu(tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="module")
def server(device: Gpu, repository: Path) -> Iterator[Server]:
    """A server without an engine, so far."""
    device.set(build={"fail": "other"})
    with gpu_server(repository, device, admin=True) as running:
        until(lambda: counts(running).get("build failed") == 1, "the first build failed", 30)
        yield running
        assert running.stop() == 0


@dataclass(frozen=True)
class Case:
    """A build that fails, how often it is tried at once, and the words that say why."""

    fault: dict[str, Any]
    why: str
    tries: int = 1


CASES = {
    "TensorRT finds no way": Case({"fail": "other"}, "Could not find any implementation"),
    "the builder crashes": Case({"fail": "crash"}, "SIGSEGV"),
    "no memory, not even with less workspace": Case({"fail": "memory"}, "memory", 2),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_build_that_fails(case: Case, server: Server, device: Gpu) -> None:
    device.set(build=case.fault)
    moved, before = Moved(server), server.log()
    reload(server)
    check_failed(server, case, moved, before)
    assert device.plans() == []
    assert device.children() == []


def check_failed(server: Server, case: Case, moved: Callable[[], dict[str, float]], before: str) -> None:
    """The model serves on as before; `before` is the log at that time."""
    until(lambda: case.why in config(server).get("degraded", ""), f"the build failed: {config(server)}", 40)
    assert moved() == {"build failed": 1, f"fallback {ENGINE} unavailable": 1}
    check_ready(server, True)
    check_active(server, CUDA, ENGINE, case.why)
    said = server.log().removeprefix(before)
    assert said.count(AGAIN) == case.tries - 1, said
    assert said.count(LATER) == 1, said
    assert metric(server, "engine_building") == 0


def test_a_build_that_is_not_done_in_time(tmp_path: Path) -> None:
    """Both tries are killed."""
    device = Gpu(tmp_path)
    device.set(build={"fail": "hang"})
    hurried = echo_repository(tmp_path / "repository", build_seconds=1.5)
    with gpu_server(hurried, device) as server:
        check_failed(server, Case({}, "not built within 1.5 s", 2), lambda: counts(server), "")
        assert device.plans() == []
        assert device.children() == []
        assert server.stop() == 0


def test_with_less_workspace_it_is_built(server: Server, device: Gpu) -> None:
    """Out of memory with the workspace of model.yaml; a quarter of it is enough."""
    device.set(build={"largest_workspace": WORKSPACE_MIB // 2 * 2**20})
    moved, before = Moved(server), server.log()
    reload(server)
    assert active(server) == CUDA
    wait_active(server, ENGINE)
    check_active(server, ENGINE)
    check_ready(server, True)
    assert moved() == {"build built": 1}
    assert server.log().removeprefix(before).count(AGAIN) == 1
    assert len(device.plans()) == len(device.manifests()) == 1


def test_an_operator_that_is_refused_is_not_tried_again(repository: Path, tmp_path: Path) -> None:
    """Not by this process, not by another one; not before somebody asks for it by name."""
    device = Gpu(tmp_path)
    device.set(parser_refuses="MatMul")
    build = ("engines", "build", NAME, "--repository", repository)
    with gpu_server(repository, device, admin=True) as server:
        until(lambda: "MatMul" in config(server).get("degraded", ""), "the parser refused it", 30)
        check_ready(server, True)
        check_active(server, CUDA, ENGINE, "MatMul")
        assert counts(server) == {"build refused": 1, f"fallback {ENGINE} unavailable": 1}
        assert LATER not in server.log()
        device.set()  # now the parser would take it
        reload(server)
        until(lambda: counts(server).get("build refused") == 2, "the refusal is remembered", 30)
        check_active(server, CUDA, ENGINE, "MatMul")
        refused = device.run(*build)
        assert (refused.code, refused.err.count("\n")) == (1, 1), refused
        assert "MatMul" in refused.err
        inspected = device.run("inspect", NAME, "--repository", repository).out
        assert f"backend  {CUDA}" in inspected
        assert "MatMul" in inspected
        assert device.plans() == []
        assert device.built() == 0
        assert device.run(*build, "--again").code == 0
        reload(server)
        wait_active(server, ENGINE)
        assert counts(server)["build found"] == 1
        assert device.built() == 1
        assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends_takes_its_builder_along(repository: Path, tmp_path: Path, number: int) -> None:
    device = Gpu(tmp_path)
    device.set(build={"seconds": 120})
    with gpu_server(repository, device) as server:
        until(lambda: "Computing profile costs" in server.log(), "it is being built", 30)
        assert metric(server, "engine_building") == 1
        assert len(device.children()) == 1
        check_ready(server, True)
        check_active(server, CUDA, ENGINE, "not ready yet")
        assert counts(server) == {}
        began = time.monotonic()
        os.kill(server.process.pid, number)
        until(lambda: device.children() == [], "the builder is gone", EXIT_SECONDS)
        assert server.process.wait(EXIT_SECONDS) == (0 if number == signal.SIGTERM else -number)
        assert time.monotonic() - began < EXIT_SECONDS
        assert device.plans() == device.manifests() == []
        if number == signal.SIGTERM:
            assert "the build was stopped" not in server.log()


def test_what_failed_for_now_is_tried_again_later(repository: Path, tmp_path: Path) -> None:
    device = Gpu(tmp_path)
    device.set(build={"fail": "memory"})
    with gpu_server(repository, device, engine_retry_seconds=1) as server:
        until(lambda: counts(server).get("build failed", 0) >= 2, "two attempts failed", 30)
        check_ready(server, True)
        check_active(server, CUDA, ENGINE, "memory")
        assert counts(server)[f"fallback {ENGINE} unavailable"] == 1, "one fallback, however often it is tried"
        for seconds in (1, 2):
            assert f"{LATER} {seconds} s" in server.log(), "each wait is twice the last one"
        device.set()
        wait_active(server, ENGINE)
        check_active(server, ENGINE)
        check_ready(server, True)
        assert counts(server)["build built"] == 1
        assert server.stop() == 0
