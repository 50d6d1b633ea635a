"""An engine is built, checked and swapped in while the model serves; one that is wrong is not."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.integration.calls import PROTOCOLS, ask, until
from tests.integration.gpu_asks import (
    Moved,
    active,
    check_active,
    check_ready,
    config,
    counts,
    metric,
    replies,
    shown,
    wait_active,
)
from tests.integration.gpu_harness import (
    BUCKETS,
    CUDA,
    ENGINE,
    NAME,
    Gpu,
    add_version,
    echo_repository,
    gpu_server,
    load_again,
    reload,
)
from tests.integration.gpu_load import clients
from tests.integration.harness import Server

QUIET_SECONDS = 2.5
LANES = 2
PHASES = ("probe and build", "quiet", "check and swap", "after", "the engine fails")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`echo` on the whole chain."""
    return echo_repository(tmp_path_factory.mktemp("repository"), lanes=LANES)


@dataclass(frozen=True)
class Wrong:
    """An engine that answers wrongly, and the words for it."""

    answers: bool | str
    why: str


WRONG = {
    "numbers": Wrong(True, "output 'y' differs from ONNX Runtime's by up to 1"),
    "NaN": Wrong("nan", "output 'y' holds NaN"),
}


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Gpu:
    """What the tests of wrong engines steer."""
    return Gpu(tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="module")
def server(device: Gpu, repository: Path) -> Iterator[Server]:
    """A server whose engine is wrong from the start."""
    device.set(wrong_answers=True)
    with gpu_server(repository, device, admin=True) as running:
        until(lambda: counts(running).get("build differs") == 1, "the engine was compared", 30)
        yield running
        assert running.stop() == 0


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_engine_is_not_adopted(wrong: Wrong, server: Server, device: Gpu, repository: Path) -> None:
    device.set(wrong_answers=wrong.answers)
    moved = Moved(server)
    reload(server)
    until(lambda: wrong.why in config(server).get("degraded", ""), "the engine was compared", 30)
    check_ready(server, True)
    check_active(server, CUDA, ENGINE, wrong.why)
    assert moved() == {"build found": 1, "build differs": 1, f"fallback {ENGINE} unavailable": 1}
    inspected = device.run("inspect", NAME, "--repository", repository).out
    assert f"backend  {CUDA}" in inspected
    assert f"not {ENGINE}: " in inspected
    assert wrong.why in inspected


def test_a_wrong_engine_is_adopted_when_it_is_right_again(server: Server, device: Gpu, repository: Path) -> None:
    """Nothing is held against a plan: it is compared whenever it is loaded."""
    device.set()
    reload(server)
    wait_active(server, ENGINE)
    check_ready(server, True)
    check_active(server, ENGINE)
    assert f"backend  {ENGINE}" in device.run("inspect", NAME, "--repository", repository).out


def test_every_bucket_of_every_lane_is_warm_when_the_engine_is_adopted(repository: Path, tmp_path: Path) -> None:
    """A run without a graph happens once for each, before the first request; then there are only launches."""
    device = Gpu(tmp_path)
    with gpu_server(repository, device) as server:
        wait_active(server, ENGINE)
        for rows in range(1, BUCKETS[-1] + 1):
            x = np.arange(1, rows + 1, dtype=np.float32).reshape(rows, 1)
            for protocol in PROTOCOLS:
                answer = ask(server, {"x": x}, protocol)
                np.testing.assert_array_equal(answer.only, x)
                assert answer.parameters["backend"] == ENGINE
        assert metric(server, "engine_build_duration_seconds_count", result="built") == 1
        assert metric(server, "engine_build_steps_total") >= 1
        assert server.metric("modelyard_gpu_memory_limit_bytes") == 16 * 2**30
        assert server.metric("modelyard_gpu_memory_used_bytes") > 0
        assert server.stop() == 0
    (counted,) = [report["counts"] for report in device.reports() if report["pid"] == server.process.pid]
    assert counted["cudaStreamBeginCapture"] == LANES * len(BUCKETS)
    assert counted["enqueues"] == 2 * LANES * len(BUCKETS), "once to warm up and once to be captured"
    assert counted["graph_launches"] >= LANES * len(BUCKETS) + 2 * BUCKETS[-1]
    assert counted.get("pageable_copies", 0) == 0


def test_a_new_version_gets_an_engine_of_its_own(tmp_path: Path) -> None:
    """While it is built, the version before stays on its own."""
    device, own = Gpu(tmp_path), echo_repository(tmp_path / "repository")
    with gpu_server(own, device, admin=True) as server:
        wait_active(server, ENGINE)
        device.set(build={"seconds": 1})
        add_version(own, 2)
        load_again(server)
        assert shown(server) == {ENGINE: 1, CUDA: 1}
        said = [config(server, version) for version in ("1", "2")]
        assert [(of["backend"], "degraded" in of) for of in said] == [(ENGINE, False), (CUDA, True)]
        assert [metric(server, "backend_degraded", version=version) for version in ("1", "2")] == [0, 1]
        wait_active(server, ENGINE)
        assert shown(server) == {ENGINE: 2}
        assert counts(server) == {"build built": 2}
        assert len(device.plans()) == len(device.manifests()) == 2
        check_ready(server, True)
        assert [reply.backend for reply in replies(server, 1.5)] == [ENGINE, ENGINE]
        assert server.stop() == 0


def test_under_load_nothing_is_lost_while_an_engine_is_built_checked_and_swapped_in(
    repository: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Nor when it fails later on. The builder waits for a while, so that there is a time of quiet to compare with."""
    device = Gpu(tmp_path)
    device.set(build={"seconds": 2, "fail": "hang"})
    moments = []
    with gpu_server(repository, device) as server, clients(server) as load:
        moments.append(time.monotonic())
        until(lambda: "step 1 of 1" in server.log(), "the builder has come to its end", 60)
        moments.append(time.monotonic())
        time.sleep(QUIET_SECONDS)
        assert active(server) == CUDA
        moments.append(time.monotonic())
        device.set()
        wait_active(server, ENGINE)
        time.sleep(1.0)
        moments.append(time.monotonic())
        time.sleep(QUIET_SECONDS)
        moments.append(time.monotonic())
        assert counts(server) == {"build built": 1}
        check_active(server, ENGINE)
        check_ready(server, True)
        device.set(execute={"error": 1})
        wait_active(server, CUDA)
        time.sleep(0.5)
        moments.append(time.monotonic())
        check_active(server, CUDA, ENGINE, "failed while it ran")
        check_ready(server, True)
    assert load.lost == []
    figures = {name: load.p99(*moments[at : at + 2]) for at, name in enumerate(PHASES)}
    quiet = figures["quiet"][0]
    for name, (milliseconds, answers) in figures.items():
        text = f"{name}: p99 {milliseconds:.1f} ms of {answers} answers, {milliseconds / quiet:.2f} of the quiet time's"
        record_property(name, text)
        sys.stdout.write(f"{text}\n")
        assert answers > 0, "nobody asked"
    assert load.answered == sum(len(one.answers) for one in load.timed)
