"""No GPU, or none that works: the model serves on ONNX Runtime, ready and degraded, and everybody is told why.

The device is looked at when a model is loaded: where the same libraries serve, one server loads its model again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.calls import until
from tests.integration.gpu_asks import (
    Moved,
    check_active,
    check_ready,
    config,
    counts,
    metric,
    replies,
    wait_active,
)
from tests.integration.gpu_harness import (
    CPU,
    CUDA,
    ENGINE,
    FAKES,
    NAME,
    NO_CUDA,
    Gpu,
    echo_repository,
    gpu_server,
    reload,
)
from tests.integration.harness import Server

DRIVER = Path("/proc/driver/nvidia")
PROMPT_SECONDS = 8.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`echo` on the whole chain."""
    return echo_repository(tmp_path_factory.mktemp("repository"))


def demand_engine(spec: dict[str, Any]) -> None:
    """Not ready below TensorRT."""
    spec["minimum_backend"] = ENGINE


@dataclass(frozen=True)
class Case:
    """What is wrong, where the model runs then, and the words that say why."""

    why: str
    active: str
    faults: dict[str, Any] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    """Of the fakes: what is left out is what is installed for real, or nothing."""


NOT_INSTALLED = {
    "TensorRT": Case("TensorRT is not installed", CPU),
    "cuda-python": Case("cuda-python is not installed", CPU, modules=("tensorrt", "-cuda")),
    "a driver, CUDA being real": Case("driver", CPU, modules=("tensorrt",)),
}
OUT_OF_ORDER = {
    "no driver": Case("driver", CPU, {"driver": False}),
    "no device": Case("device", CPU, {"devices": 0}),
    "TensorRT's libraries are missing": Case(
        "libnvinfer.so.10", CUDA, {"import_error": {"tensorrt": "libnvinfer.so.10: cannot open shared object file"}}
    ),
    "the probe crashes": Case("SIGSEGV", CUDA, {"probe_crash": True}),
}


def library_path(folder: Path, modules: tuple[str, ...]) -> str:
    """A folder for PYTHONPATH with these modules of the fakes; "-cuda": a package that hides the real one."""
    folder.mkdir()
    for name in modules:
        if name == "-cuda":
            (folder / "cuda" / "bindings").mkdir(parents=True)
            (folder / "cuda" / "bindings" / "__init__.py").touch()
        else:
            (folder / name).symlink_to(FAKES / name)
    return str(folder)


def skipped_links(case: Case) -> dict[str, float]:
    """What is counted when the model is loaded."""
    links = [ENGINE, CUDA] if case.active == CPU else [ENGINE]
    return {f"fallback {link} unavailable": 1.0 for link in links}


def check_degraded(server: Server, case: Case) -> None:
    """Ready, degraded, and everybody is told the same."""
    until(lambda: case.why in config(server).get("degraded", ""), f"the device was looked at: {config(server)}", 30)
    check_ready(server, True)
    check_active(server, case.active, ENGINE, case.why)
    until(lambda: metric(server, "engine_building") == 0, "nothing is built")


def check_inspected(said: str, case: Case) -> None:
    """`modelyard inspect` says where the model would run, and why not on TensorRT."""
    assert f"backend  {case.active}" in said, said
    assert f"not {ENGINE}: " in said, said
    assert case.why in said, said


@pytest.mark.parametrize("case", NOT_INSTALLED.values(), ids=NOT_INSTALLED)
def test_what_is_not_installed_is_not_needed(case: Case, repository: Path, tmp_path: Path) -> None:
    if case.modules == ("tensorrt",) and DRIVER.exists():
        pytest.skip("there is a driver")
    gpu = Gpu(tmp_path, library_path(tmp_path / "libraries", case.modules))
    (tmp_path / "inspected").mkdir()
    inspect = Gpu(tmp_path / "inspected", gpu.path).run
    with ThreadPoolExecutor(1) as threads:
        inspected = threads.submit(inspect, "inspect", NAME, "--repository", repository)
        with gpu_server(repository, gpu) as server:
            check_degraded(server, case)
            assert counts(server) == skipped_links(case)
            assert f"no {ENGINE} here: " in server.log()
            assert server.stop() == 0
        check_inspected(inspected.result().out, case)
    assert gpu.plans() == []


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Gpu:
    """A device that never works."""
    gpu = Gpu(tmp_path_factory.mktemp("gpu"))
    gpu.set(driver=False)
    return gpu


@pytest.fixture(scope="module")
def server(device: Gpu, repository: Path) -> Iterator[Server]:
    """A server that can load its model again, to look at the device anew."""
    with gpu_server(repository, device, admin=True) as running:
        until(lambda: f"fallback {ENGINE} unavailable" in counts(running), "the device was looked at", 30)
        yield running  # the last test ends it
    assert device.plans() == []


@pytest.mark.parametrize("case", OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
def test_a_device_that_does_not_work(case: Case, server: Server, device: Gpu, repository: Path) -> None:
    device.set(**case.faults)
    moved = Moved(server)
    reload(server)
    check_degraded(server, case)
    assert moved() == skipped_links(case)
    check_inspected(device.run("inspect", NAME, "--repository", repository).out, case)


def test_a_probe_that_hangs_harms_nobody(server: Server, device: Gpu) -> None:
    """Not the callers, and not the end of the server."""
    device.set(probe_hang=True)
    moved = Moved(server)
    reload(server)
    until(lambda: len(device.children()) == 1, "the probe runs", 30)
    check_ready(server, True)
    check_active(server, CUDA, ENGINE, "not ready yet")
    assert metric(server, "engine_building") == 1
    assert moved() == {}
    began = time.monotonic()
    reload(server)
    assert time.monotonic() - began < PROMPT_SECONDS, "the probe of a version that goes is given up"
    until(lambda: len(device.children()) == 1, "the next probe runs", 30)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < PROMPT_SECONDS
    assert device.children() == []


def test_a_session_that_is_silently_on_the_cpu_is_found_out(tmp_path: Path) -> None:
    """ONNX Runtime for CUDA gives a session on the CPU, without an error, where CUDA does not work."""

    def edit(spec: dict[str, Any]) -> None:
        spec["backends"] = [{"name": CUDA}, {"name": CPU}]
        spec["minimum_backend"] = CUDA

    gpu, demanding = Gpu(tmp_path), echo_repository(tmp_path / "repository", edit)
    gpu.set(ort_cuda={"silent_cpu": True})
    with gpu_server(demanding, gpu, ready=False, admin=True) as server:
        check_ready(server, False)
        check_active(server, CPU, CUDA, "CPU EP")
        assert counts(server) == {f"fallback {CUDA} unavailable": 1}
        check = gpu.run("inspect", NAME, "--repository", demanding).out
        assert f"backend  {CPU}" in check
        assert f"not {CUDA}: " in check
        gpu.set()
        reload(server)
        check_ready(server, True)
        check_active(server, CUDA)
        assert server.stop() == 0


def test_below_its_minimum_a_model_answers_but_is_not_ready(tmp_path: Path) -> None:
    gpu, demanding = Gpu(tmp_path), echo_repository(tmp_path / "repository", demand_engine)
    gpu.set(driver=False)
    with gpu_server(demanding, gpu, ready=False) as server:
        until(lambda: "driver" in config(server).get("degraded", ""), "the device was looked at", 30)
        check_ready(server, False)
        check_active(server, CPU, ENGINE, "driver")
        assert metric(server, "model_ready") == 0
        assert server.stop() == 0


@pytest.mark.parametrize(("level", "precision"), [("10", "fp32"), ("11", "fp16")])
def test_a_model_becomes_ready_when_it_reaches_its_minimum(tmp_path: Path, level: str, precision: str) -> None:
    gpu, demanding = Gpu(tmp_path), echo_repository(tmp_path / "repository", demand_engine, precision=precision)
    gpu.set(build={"seconds": 1.0}, **NO_CUDA)
    with gpu_server(demanding, gpu, ready=False, env={"FAKE_TENSORRT": level}) as server:
        check_ready(server, False)
        assert [reply.backend for reply in replies(server, 1.5)] == [CPU, CPU]
        assert metric(server, "model_ready") == 0
        wait_active(server, ENGINE)
        check_ready(server, True)
        check_active(server, ENGINE)
        assert metric(server, "model_ready") == 1
        assert config(server)["precision"] == precision
        assert counts(server)["build built"] == 1
        assert server.stop() == 0
