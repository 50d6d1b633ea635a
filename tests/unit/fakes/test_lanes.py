"""Several lanes at once: right answers from every thread, and a fault of one that all of them see."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.fakes.cuda.bindings import runtime
from tests.fakes.fakegpu.streams import Operation
from tests.unit.fakes.device import SUCCESS, Device
from tests.unit.fakes.networks import WEIGHTS, Build, Lane, Log, rows

LANES = 4


@pytest.fixture
def lanes(trt: ModuleType, device: Device) -> list[Lane]:
    engine = trt.Runtime(Log(trt).logger).deserialize_cuda_engine(bytes(Build(trt).run()))
    return [Lane(trt, device, engine) for _ in range(LANES)]


def test_every_thread_gets_its_own_answers(device: Device, lanes: list[Lane]) -> None:
    def work(number: int) -> None:
        lane = lanes[number]
        lane.run(rows(4))
        executable = lane.capture()
        for turn in range(25):
            x = rows(4) + number + turn
            lane.put(x)
            assert runtime.cudaGraphLaunch(executable, lane.stream) == SUCCESS
            assert runtime.cudaStreamSynchronize(lane.stream) == SUCCESS
            np.testing.assert_array_equal(lane.get(), x @ WEIGHTS)
        assert runtime.cudaGraphExecDestroy(executable) == SUCCESS

    with ThreadPoolExecutor(LANES) as pool:
        list(pool.map(work, range(LANES)))
    assert device.machine.violations == []
    assert device.machine.counts["executions"] == LANES * 26


def test_a_lane_that_hangs_holds_no_other(device: Device, lanes: list[Lane]) -> None:
    stuck, free = lanes[:2]
    device.set(execute={"hang": True})
    thread = threading.Thread(target=_execute, args=(stuck,), daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    assert runtime.cudaMemsetAsync(free.x, 0, 4, free.stream) == SUCCESS
    assert runtime.cudaStreamSynchronize(free.stream) == SUCCESS
    device.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_sticky_error_reaches_every_thread_once_and_for_all(device: Device, lanes: list[Lane]) -> None:
    device.set(execute={"error": 700, "from_call": 3, "times": 1})
    with ThreadPoolExecutor(LANES) as pool:
        answers = list(pool.map(_execute, lanes))
    assert 700 in answers
    assert set(answers) <= {0, 700}
    assert [_execute(lane) for lane in lanes] == [700] * LANES
    assert int(runtime.cudaGetLastError()[0]) == 700


def _execute(lane: Any) -> int:
    lane.context.execute_async_v3(int(lane.stream))
    return int(runtime.cudaStreamSynchronize(lane.stream)[0])


def test_who_waits_for_the_whole_device_learns_of_a_sticky_error_too(device: Device, lanes: list[Lane]) -> None:
    device.set(execute={"error": 719})
    memory = device.allocate(8)
    assert lanes[0].context.execute_async_v3(int(lanes[0].stream))
    assert int(runtime.cudaFree(memory)[0]) == 719


def test_work_that_waits_is_never_done_after_a_sticky_error(device: Device, lanes: list[Lane]) -> None:
    device.set(execute={"error": 700, "times": 1})
    for lane in lanes:
        assert lane.context.execute_async_v3(int(lane.stream))
    assert int(runtime.cudaStreamSynchronize(lanes[0].stream)[0]) == 700
    assert not any(device.machine.streams[int(lane.stream)].busy for lane in lanes)
    assert "executions" not in device.machine.counts


def test_who_waited_while_the_device_died_is_told(device: Device) -> None:
    """The fault is another stream's: its own work went well, and yet nothing of it can be trusted."""
    stream = device.machine.stream(int(device.stream()))
    device.machine.enqueue(stream, Operation("another's fault", lambda: device.machine.fail(700)))
    assert int(runtime.cudaStreamSynchronize(stream.handle)[0]) == 700
