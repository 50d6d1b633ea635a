"""Engines and contexts: right answers at the addresses that were given, and no mercy for a wrong use."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.fakes.cuda.bindings import runtime
from tests.unit.fakes.device import SUCCESS, Device
from tests.unit.fakes.networks import WEIGHTS, Build, Lane, Log, rows

ILLEGAL_ADDRESS = (runtime.cudaError_t.cudaErrorIllegalAddress,)


@pytest.fixture
def plan(trt: ModuleType) -> bytes:
    return bytes(Build(trt).run())


@pytest.fixture
def log(trt: ModuleType) -> Log:
    return Log(trt)


@pytest.fixture
def engine(trt: ModuleType, plan: bytes, log: Log) -> Iterator[Any]:
    yield trt.Runtime(log.logger).deserialize_cuda_engine(plan)
    gc.collect()


def test_an_engine_says_what_it_is(trt: ModuleType, engine: Any) -> None:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    assert names == ["x", "y"]
    assert [engine.get_tensor_mode(name) for name in (*names, "z")] == [
        trt.TensorIOMode.INPUT,
        trt.TensorIOMode.OUTPUT,
        trt.TensorIOMode.NONE,
    ]
    assert engine.get_tensor_shape("x") == (-1, 3)
    assert [tuple(shape) for shape in engine.get_tensor_profile_shape("x", 1)] == [(4, 3)] * 3
    assert engine.num_optimization_profiles == 2
    assert engine.get_device_memory_size_for_profile_v2(1) == engine.device_memory_size_v2 > 0


def test_answers_are_computed(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    for x in (rows(4), rows(4) + 1):
        np.testing.assert_array_equal(lane.run(x), x @ WEIGHTS)
    assert device.machine.counts["executions"] == 2
    assert not device.machine.violations


def test_nothing_is_computed_before_somebody_waits(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    lane.put(rows(4))
    assert lane.context.execute_async_v3(int(lane.stream))
    assert "executions" not in device.machine.counts


def test_a_captured_run_is_replayed_on_new_bytes(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    lane.run(rows(4))
    executable = lane.capture()
    lane.put(rows(4) * 2)
    assert runtime.cudaGraphLaunch(executable, lane.stream) == SUCCESS
    assert runtime.cudaStreamSynchronize(lane.stream) == SUCCESS
    np.testing.assert_array_equal(lane.get(), rows(4) * 2 @ WEIGHTS)


def test_everything_can_be_given_back(trt: ModuleType, device: Device, plan: bytes) -> None:
    engine = trt.Runtime(Log(trt).logger).deserialize_cuda_engine(plan)
    lane = Lane(trt, device, engine)
    lane.run(rows(4))
    assert device.machine.held()["engines"] == device.machine.held()["contexts"] == 1
    lane.free()
    del engine, lane
    assert device.machine.held() == {}, "without a collection of garbage"


def test_what_a_capture_needs_before_it(trt: ModuleType, device: Device, engine: Any, log: Log) -> None:
    lane = Lane(trt, device, engine)
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    runtime.cudaStreamBeginCapture(lane.stream, mode)
    assert not lane.context.execute_async_v3(int(lane.stream)), "no run outside a capture since the shapes were set"
    assert "operation not permitted when stream is capturing" in log.errors
    assert runtime.cudaStreamEndCapture(lane.stream)[0] == runtime.cudaError_t.cudaErrorStreamCaptureInvalidated
    lane.run(rows(4))
    assert int(lane.capture())


def test_a_graph_dies_with_the_shapes_that_it_was_captured_with(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    lane.run(rows(4))
    executable = lane.capture()
    lane.context.set_optimization_profile_async(0, 0)
    runtime.cudaGraphLaunch(executable, lane.stream)
    assert runtime.cudaStreamSynchronize(lane.stream) == ILLEGAL_ADDRESS
    assert "other shapes" in device.machine.violations[0]


def test_a_graph_dies_with_its_context(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    lane.run(rows(4))
    executable = lane.capture()
    del lane.context
    runtime.cudaGraphLaunch(executable, lane.stream)
    assert runtime.cudaStreamSynchronize(lane.stream) == ILLEGAL_ADDRESS
    assert "had gone" in device.machine.violations[0]


def test_a_context_that_goes_while_it_works_is_noticed(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    assert lane.context.execute_async_v3(int(lane.stream))
    del lane.context
    assert "destroyed while its work" in device.machine.violations[0]


def test_shapes_outside_the_profile_are_refused(trt: ModuleType, device: Device, engine: Any, log: Log) -> None:
    context = Lane(trt, device, engine).context
    assert not context.set_input_shape("x", (5, 3))
    assert "[4, 3]..[4, 3]" in log.errors
    assert not context.set_input_shape("x", (4, 3, 1))
    assert not context.set_input_shape("y", (4, 2))
    with pytest.raises(RuntimeError, match="set optimization profile"):
        context.set_optimization_profile_async(2, 0)


@pytest.mark.parametrize("missing", ["shape", "address", "scratch"])
def test_an_enqueue_needs_everything(trt: ModuleType, device: Device, engine: Any, log: Log, missing: str) -> None:
    lane = Lane(trt, device, engine)
    bare = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    if missing != "shape":
        bare.set_optimization_profile_async(1, 0)
        bare.set_input_shape("x", (4, 3))
        assert bare.get_tensor_shape("y") == (4, 2)
    else:
        assert bare.infer_shapes() == ["x"]
        assert bare.get_tensor_shape("y") == (-1, 2)
    if missing != "address":
        bare.set_tensor_address("x", lane.x)
        bare.set_tensor_address("y", lane.y)
    if missing != "scratch":
        bare.set_device_memory(lane.scratch, engine.device_memory_size_v2)
    assert not bare.execute_async_v3(int(lane.stream))
    said = {"shape": "shapes are specified", "address": "setTensorAddress", "scratch": "setDeviceMemoryV2"}
    assert said[missing] in log.errors


def test_too_little_scratch_memory_is_refused(trt: ModuleType, device: Device, engine: Any, log: Log) -> None:
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    context.set_device_memory(device.allocate(64), 64)
    assert "64 bytes" in log.errors


def test_an_output_that_does_not_fit_is_an_illegal_access(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    lane.context.set_tensor_address("y", device.allocate(31))
    assert lane.context.execute_async_v3(int(lane.stream))
    assert runtime.cudaStreamSynchronize(lane.stream) == ILLEGAL_ADDRESS
    assert "32 bytes" in device.machine.violations[0]


def test_two_lanes_must_not_share_their_scratch_memory(trt: ModuleType, device: Device, engine: Any) -> None:
    one, other = Lane(trt, device, engine), Lane(trt, device, engine)
    assert one.context.execute_async_v3(int(one.stream))
    assert other.context.execute_async_v3(int(other.stream))
    assert not device.machine.violations
    other.context.set_device_memory(one.scratch, engine.device_memory_size_v2)
    assert other.context.execute_async_v3(int(other.stream))
    assert "scratch" in device.machine.violations[0]


def test_one_context_must_not_run_on_two_streams(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    assert lane.context.execute_async_v3(int(lane.stream))
    assert lane.context.execute_async_v3(int(device.stream()))
    assert "two streams" in device.machine.violations[0]


@pytest.mark.parametrize("strategy", ["STATIC", "ON_PROFILE_CHANGE"])
def test_a_context_can_own_its_scratch_memory(trt: ModuleType, device: Device, engine: Any, strategy: str) -> None:
    before = device.machine.held()["device_bytes"]
    context = engine.create_execution_context(getattr(trt.ExecutionContextAllocationStrategy, strategy))
    assert device.machine.held()["device_bytes"] - before == engine.device_memory_size_v2
    del context
    assert device.machine.held()["device_bytes"] == before
    device.set(malloc_fails_after=0)
    assert engine.create_execution_context() is None


def test_contexts_fail_by_the_file(trt: ModuleType, device: Device, engine: Any, log: Log) -> None:
    device.set(contexts_fail_after=1)
    strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
    assert engine.create_execution_context(strategy) is not None
    assert engine.create_execution_context(strategy) is None
    assert "Cuda Runtime (out of memory)" in log.errors


@pytest.mark.parametrize("raw", [b"", b"rubbish", "cut", "changed"])
def test_a_corrupted_plan_is_no_engine(trt: ModuleType, plan: bytes, log: Log, raw: bytes | str) -> None:
    changed = {"cut": plan[:-1], "changed": plan[:100] + bytes([plan[100] ^ 1]) + plan[101:]}
    wrong = changed[raw] if isinstance(raw, str) else raw
    assert trt.Runtime(log.logger).deserialize_cuda_engine(wrong) is None
    assert "Serialization" in log.errors


def test_a_plan_of_another_device_is_no_engine(trt: ModuleType, device: Device, plan: bytes, log: Log) -> None:
    device.set(compute=[8, 0])
    assert trt.Runtime(log.logger).deserialize_cuda_engine(plan) is None
    assert "expecting compute 8.0 got compute 9.0, please rebuild" in log.errors


@pytest.mark.parametrize(
    ("fault", "text"),
    [("corrupt", "Magic tag"), ("foreign", "expecting library version"), ("memory", "Cuda Runtime (out of memory)")],
)
def test_plans_fail_by_the_file(trt: ModuleType, device: Device, plan: bytes, log: Log, fault: str, text: str) -> None:
    device.set(plan={"fail": fault, "times": 1})
    machine_runtime = trt.Runtime(log.logger)
    assert machine_runtime.deserialize_cuda_engine(plan) is None
    assert text in log.errors
    assert machine_runtime.deserialize_cuda_engine(plan) is not None


def test_executions_fail_by_the_file(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    device.set(execute={"error": 2, "from_call": 2, "times": 1})
    answers = []
    for _ in range(3):
        assert lane.context.execute_async_v3(int(lane.stream))
        answers.append(int(runtime.cudaStreamSynchronize(lane.stream)[0]))
    assert answers == [0, 2, 0]
    device.set(execute={"refuse": "memory"})
    assert not lane.context.execute_async_v3(int(lane.stream))


def test_an_error_that_is_not_sticky_stays_with_its_stream(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    device.set(execute={"error": 2, "times": 1})
    assert lane.context.execute_async_v3(int(lane.stream))
    assert runtime.cudaFree(device.allocate(8)) == SUCCESS, "it waits for the device, and is no user of that stream"
    assert int(runtime.cudaStreamSynchronize(lane.stream)[0]) == 2


@pytest.mark.parametrize("code", [700, 710, 719, 999])
def test_a_sticky_error_ends_all_streams(trt: ModuleType, device: Device, engine: Any, code: int, log: Log) -> None:
    one, other = Lane(trt, device, engine), Lane(trt, device, engine)
    device.set(execute={"error": code, "times": 1})
    assert one.context.execute_async_v3(int(one.stream))
    assert other.context.execute_async_v3(int(other.stream))
    assert int(runtime.cudaStreamSynchronize(one.stream)[0]) == code
    assert int(runtime.cudaStreamSynchronize(other.stream)[0]) == code
    assert not one.context.execute_async_v3(int(one.stream))
    assert engine.create_execution_context() is None
    assert "Cuda Runtime" in log.errors


@pytest.mark.parametrize("wrong", [True, "nan"])
def test_answers_are_wrong_by_the_file(trt: ModuleType, device: Device, engine: Any, wrong: object) -> None:
    lane = Lane(trt, device, engine)
    device.set(wrong_answers=wrong)
    y = lane.run(rows(4))
    assert np.isnan(y).all() if wrong == "nan" else (y == rows(4) @ WEIGHTS + 1).all()


def test_addresses_have_to_be_integers_and_aligned(trt: ModuleType, device: Device, engine: Any) -> None:
    lane = Lane(trt, device, engine)
    with pytest.raises(TypeError):
        lane.context.set_tensor_address("x", 1.5)
    with pytest.raises(TypeError):
        lane.context.execute_async_v3("stream")
    assert not lane.context.set_tensor_address("z", lane.x)
    lane.context.set_tensor_address("x", lane.x + 4)
    assert "aligned" in device.machine.violations[0]
