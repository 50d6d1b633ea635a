"""How a server comes by an engine: built once in a child, and whatever happens there, nothing happens here."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.backends.base import BackendUnavailable
from modelyard.backends.engine import maker
from modelyard.backends.engine.maker import BuildFailed, BuildStopped, ModelRefused
from modelyard.spec import TensorSpec
from tests.unit.backends.engine.fake_gpu import FakeGpu, Wish, write_model

MIB = 2**20
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(name="gpu")
def _gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu(tmp_path, monkeypatch)


@pytest.fixture(name="wish")
def _wish(tmp_path: Path, gpu: FakeGpu) -> Iterator[Wish]:
    yield Wish(tmp_path)
    assert builders() == []


def builders() -> list[psutil.Process]:
    return [process for process in psutil.Process().children(recursive=True) if is_builder(process)]


def is_builder(process: psutil.Process) -> bool:
    try:
        return "modelyard.backends.engine.child" in process.cmdline()
    except psutil.Error:
        return False


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "ChildProcess", None)


def test_an_engine_is_built_once_and_then_taken_from_the_store(
    wish: Wish, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = wish.ensure()
    assert gpu.count("builds") == 1
    (entry,) = wish.store.entries()
    assert (entry.about.model, entry.about.version) == ("m", "7")
    assert entry.about.seconds > 0
    assert wish.phases[0] == "building"
    assert "Computing profile costs" in wish.phases, "what TensorRT says of its progress"
    assert [progress.seconds for progress in wish.seen] == sorted(progress.seconds for progress in wish.seen)
    no_child(monkeypatch)
    assert wish.ensure() == plan


def test_the_timing_cache_of_a_build_serves_the_next_one(wish: Wish, gpu: FakeGpu) -> None:
    wish.ensure()
    wish.spec = wish.spec.model_copy(update={"batching": wish.spec.batching.model_copy(update={"max_batch_size": 8})})
    wish.ensure()
    assert gpu.count("builds") == 2
    assert gpu.count("builds_with_timings") == 1


def test_it_is_built_again_when_that_is_asked_for(wish: Wish, gpu: FakeGpu) -> None:
    wish.ensure()
    wish.ensure(again=True)
    assert gpu.count("builds") == 2
    assert len(wish.store.entries()) == 1


def test_a_corrupted_plan_is_built_again(wish: Wish, gpu: FakeGpu) -> None:
    plan = wish.ensure()
    (path,) = wish.store.folder.glob("*.plan")
    path.write_bytes(plan[::-1])
    assert wish.ensure() == plan
    assert gpu.count("builds") == 2
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_plan_of_another_owner_is_built_again(wish: Wish, gpu: FakeGpu) -> None:
    wish.ensure()
    (path,) = wish.store.folder.glob("*.plan")
    path.write_bytes(b"what another user wants us to run")
    os.chown(path, 65534, 65534)
    assert b"another user" not in wish.ensure()
    assert gpu.count("builds") == 2


def test_shapes_that_no_engine_can_be_built_for_start_no_child(wish: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    no_child(monkeypatch)
    wish.spec = wish.spec.model_copy(update={"inputs": (TensorSpec(name="x", datatype="FP32", shape=(-1, -1)),)})
    with pytest.raises(BackendUnavailable, match=r"'x'"):
        wish.ensure()


# --- two at once -------------------------------------------------------------------------------------------------


def ensure_in_process(folder: Path) -> tuple[bytes, list[str]]:
    wish = Wish(folder)
    return wish.ensure(), wish.phases


def test_processes_that_want_the_same_engine_build_it_once(wish: Wish, gpu: FakeGpu, tmp_path: Path) -> None:
    gpu.set(build={"seconds": 6})
    with SPAWN.Pool(2) as pool:
        servers = [pool.apply_async(ensure_in_process, (tmp_path,)) for _ in range(2)]
        here = wish.ensure()
        others = [server.get(60) for server in servers]
    assert {plan for plan, _ in others} == {here}
    assert gpu.count("builds") == 1
    assert [phases[0] for _, phases in [*others, (here, wish.phases)]].count("waiting") == 2


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_an_operator_that_the_parser_refuses_is_not_tried_twice(
    wish: Wish, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.set(parser_refuses="Relu")
    with pytest.raises(ModelRefused, match=r"Relu.*the_node"):
        wish.ensure()
    with monkeypatch.context() as context:
        no_child(context)
        with pytest.raises(ModelRefused, match=r"Relu.*the_node"):
            wish.ensure()
        wish.device = replace(wish.device, gpu="another")
        with pytest.raises(ModelRefused, match=r"Relu"):
            wish.ensure()
    wish.device = replace(wish.device, gpu="NVIDIA Fake 10")
    gpu.set()
    wish.ensure(again=True)
    assert wish.store.refusal(wish.key()) is None, "what was built is no longer refused"


def test_another_artifact_is_not_refused_for_the_first(wish: Wish, gpu: FakeGpu, tmp_path: Path) -> None:
    gpu.set(parser_refuses="Relu")
    with pytest.raises(ModelRefused):
        wish.ensure()
    wish.artifact, wish.sha256 = write_model(tmp_path / "versions" / "8", "Tanh"), "cd" * 32
    wish.ensure()


def test_out_of_memory_is_tried_once_more_with_a_quarter_of_the_workspace(
    wish: Wish, gpu: FakeGpu, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.set(build={"largest_workspace": 16 * MIB})
    wish.ensure()
    assert gpu.count("builds") == 2
    assert "once more with a quarter" in caplog.text
    assert wish.phases.count("building") == 2


def test_out_of_memory_twice_fails(wish: Wish, gpu: FakeGpu) -> None:
    gpu.set(build={"fail": "memory"})
    with pytest.raises(BuildFailed, match=r"(?i)memory") as caught:
        wish.ensure()
    assert caught.value.kind == "memory"
    assert gpu.count("builds") == 2
    assert wish.store.refusal(wish.key()) is None, "it may succeed later"
    assert list(wish.store.folder.iterdir()) == []


def test_a_build_that_takes_too_long_is_killed_and_tried_once_more(wish: Wish, gpu: FakeGpu) -> None:
    gpu.set(build={"fail": "hang"})
    wish.backend = wish.backend.model_copy(update={"build_seconds": 3.0})
    with pytest.raises(BuildFailed, match=r"^the engine was not built within 3 s$") as caught:
        wish.ensure()
    assert caught.value.kind == "timeout"
    assert wish.phases.count("building") == 2


def test_a_builder_that_crashes_takes_nothing_with_it(wish: Wish, gpu: FakeGpu) -> None:
    gpu.set(build={"fail": "crash"})
    with pytest.raises(BuildFailed, match=r"^the builder was ended by SIGSEGV$") as caught:
        wish.ensure()
    assert caught.value.kind == "crash"
    assert wish.phases.count("building") == 1, "no second try"
    gpu.set()
    wish.ensure()


def test_any_other_failure_has_its_reason(wish: Wish, gpu: FakeGpu) -> None:
    gpu.set(build={"fail": "implementation"})
    with pytest.raises(BuildFailed, match=r"Could not find any implementation") as caught:
        wish.ensure()
    assert caught.value.kind == "other"


def test_a_folder_that_others_can_write_gets_no_engine(wish: Wish) -> None:
    wish.store.folder.mkdir(mode=0o700)
    wish.store.folder.chmod(0o777)
    with pytest.raises(BuildFailed, match=r"can be written by others"):
        wish.ensure()


def test_a_tensorrt_that_was_upgraded_meanwhile_builds_nothing_under_the_old_name(wish: Wish) -> None:
    wish.device = replace(wish.device, tensorrt="10.0.0")
    with pytest.raises(BuildFailed, match=r"'10.0.0' was found.*'10.13.3.9' now: restart"):
        wish.ensure()


# --- killed ------------------------------------------------------------------------------------------------------


def test_a_stop_kills_the_builder_at_once(wish: Wish, gpu: FakeGpu) -> None:
    gpu.set(build={"fail": "hang"})

    def stop() -> None:
        until(lambda: "building" in wish.phases)
        wish.stop.set()

    threading.Thread(target=stop).start()
    with pytest.raises(BuildStopped):
        wish.ensure()
    assert builders() == []


def test_a_killed_builder_is_as_one_without_memory_and_the_next_cleans_up(wish: Wish, gpu: FakeGpu) -> None:
    gpu.set(build={"seconds": 20})

    def kill() -> None:
        for number in (1, 2):
            until(lambda number=number: wish.phases.count("building") == number)  # type: ignore[misc]  # its own number
            half = wish.store.folder / f"{wish.key().digest}.00{number}.plan.0a.tmp"
            half.write_bytes(b"half a plan")
            for process in builders():
                process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(BuildFailed, match=r"SIGKILL") as caught:
        wish.ensure()
    killer.join()
    assert caught.value.kind == "memory"
    assert wish.store.find(wish.key()) is None
    assert list(wish.store.folder.glob("*.tmp")), "it had no time to clean up"
    gpu.set()
    plan = wish.ensure()
    assert wish.store.find(wish.key()) == plan
    assert sorted(path.suffix for path in wish.store.folder.iterdir()) == [".cache", ".json", ".plan"]


def test_one_that_waits_builds_when_the_first_builder_is_killed(wish: Wish, gpu: FakeGpu, tmp_path: Path) -> None:
    gpu.set(build={"fail": "hang"})
    first, second = wish, Wish(tmp_path)
    with ThreadPoolExecutor(2) as threads:
        stopped = threads.submit(first.ensure)
        until(lambda: "building" in first.phases)
        built = threads.submit(second.ensure)
        until(lambda: second.phases == ["waiting"])
        first.stop.set()
        gpu.set()
        with pytest.raises(BuildStopped):
            stopped.result(60)
        assert built.result(60) == second.store.find(second.key())


def test_a_builder_dies_with_the_server_that_started_it(wish: Wish, gpu: FakeGpu, tmp_path: Path) -> None:
    gpu.set(build={"fail": "hang"})
    server = SPAWN.Process(target=ensure_in_process, args=(tmp_path,))
    server.start()
    until(lambda: list(wish.store.folder.glob("*.lock")))
    (child,) = builders()
    assert child.nice() == min(19, os.nice(0) + 10), "serving keeps the cores"
    os.kill(server.pid or 0, signal.SIGKILL)
    server.join(10)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)
    gpu.set()
    wish.ensure()
    assert gpu.count("builds") == 1
