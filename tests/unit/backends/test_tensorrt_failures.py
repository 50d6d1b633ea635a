"""TensorRT behind the port when memory runs out, the device fails, or it is closed: nothing is lost or left behind."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.backends.base import BackendUnavailable, DeviceLost, OutOfMemory
from modelyard.backends.tensorrt import TensorRtBackend
from tests.unit.backends.engine.engines import AFFINE, backend_of, check, open_backend, plan_of, rows, spec_of
from tests.unit.conftest import Gpu


def test_no_memory_for_the_weights_is_not_the_plans_fault(tmp_path: Path, gpu: Gpu) -> None:
    plan = plan_of(tmp_path, AFFINE, spec_of(), backend_of())
    gpu.set(plan="memory")
    with pytest.raises(OutOfMemory):
        TensorRtBackend(plan, spec_of(), backend_of())


def test_as_many_lanes_as_there_is_memory_for(tmp_path: Path, gpu: Gpu) -> None:
    plan = plan_of(tmp_path, AFFINE, spec_of(), backend_of())
    gpu.set(malloc_fails_after=1 + 3 + 2)  # weights, a lane, part of the next
    backend = TensorRtBackend(plan, spec_of(), backend_of(lanes=4))
    assert backend.lanes == 1
    gpu.set()
    check(backend, 5)
    backend.close()


def test_no_memory_for_any_lane(tmp_path: Path, gpu: Gpu) -> None:
    plan = plan_of(tmp_path, AFFINE, spec_of(), backend_of())
    gpu.set(malloc_fails_after=2)
    with pytest.raises(OutOfMemory):
        TensorRtBackend(plan, spec_of(), backend_of())


def test_a_run_without_memory_costs_a_lane_but_never_the_last(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path, backend=backend_of(lanes=3))
    before = backend.memory_bytes
    gpu.set(execute={"error": 2})
    for left in (2, 1, 1, 1):
        with pytest.raises(OutOfMemory):
            backend.infer([rows(1)], ["y"])
        assert backend.lanes == left
    assert backend.memory_bytes < before
    gpu.set()
    check(backend, 9)
    backend.close()


def test_warming_without_memory_costs_lanes_too(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path, backend=backend_of(lanes=3))
    gpu.set(execute={"error": 2, "times": 1})
    assert list(backend.warm()) == [1, 2, 4, 8]
    assert backend.lanes == 2
    gpu.set(execute={"error": 2})
    with pytest.raises(OutOfMemory):
        backend.warm()
    gpu.set()
    check(backend, 3)
    backend.close()


def test_what_is_held_is_what_is_said(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path)
    weights = backend._plan_bytes
    buffers = (8 * 2 + 8 * 3) * 4  # x and y of the top bucket
    scratch = max(slot.device_bytes for slot in backend._idle) - buffers
    assert scratch > 0
    assert backend.memory_bytes == 2 * (buffers + scratch) + weights
    backend.close()


def test_a_lost_device_is_said_to_all(tmp_path: Path, gpu: Gpu) -> None:
    gpu.forgiven = True
    backend = open_backend(tmp_path, backend=backend_of(lanes=1))
    backend.warm()
    gpu.set(execute={"error": 719, "seconds": 0.1})
    with ThreadPoolExecutor(4) as pool:
        errors = [future.exception() for future in [pool.submit(check, backend, 1) for _ in range(4)]]
    assert [type(error) for error in errors] == [DeviceLost] * 4
    backend.close()


def test_a_failure_that_passes(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path, backend=backend_of(lanes=1))
    gpu.set(execute={"refuse": 400})
    for _ in range(3):
        with pytest.raises(RuntimeError, match=r"could not run a batch.*invalid resource handle"):
            backend.infer([rows(1)], ["y"])
    gpu.set()
    check(backend, 9)
    backend.close()


def test_a_failure_in_a_part_of_a_batch_fails_the_batch(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path, backend=backend_of(lanes=1))
    backend.warm()
    gpu.set(execute={"error": 1, "from_call": 2, "times": 1})
    with pytest.raises(Exception, match="CUDA error 1"):
        backend.infer([rows(24)], ["y"])
    check(backend, 24)
    backend.close()


def test_batches_that_run_are_waited_for(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path)
    backend.warm()
    gpu.set(execute={"seconds": 0.2})
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(check, backend, 4) for _ in range(2)]
        while len(backend._idle):
            time.sleep(0.001)
        backend.close()
        for future in running:
            future.result()
    assert gpu.machine.held() == {}


def test_who_waits_for_a_lane_is_refused(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path, backend=backend_of(lanes=1))
    backend.warm()
    gpu.set(execute={"seconds": 0.3})
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(check, backend, 1)
        while len(backend._idle):
            time.sleep(0.001)
        waiting = pool.submit(check, backend, 1)
        time.sleep(0.05)
        backend.close()
        running.result()
        assert isinstance(waiting.exception(), BackendUnavailable)


def test_closing_twice_and_asking_after(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path)
    backend.close()
    backend.close()
    assert (backend.lanes, gpu.machine.held()) == (0, {})
    with pytest.raises(BackendUnavailable, match="closed"):
        backend.infer([rows(1)], ["y"])


def test_lanes_run_at_once(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path)
    backend.warm()
    gpu.set(execute={"hang": True})
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(check, backend, 1) for _ in range(2)]
        while sum(stream.current is not None for stream in gpu.machine.streams.values()) < 2:
            time.sleep(0.001)
        gpu.set()
        for future in futures:
            future.result()
    backend.close()
