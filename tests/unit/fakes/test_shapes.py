"""Shapes: those of a range, those that nobody knows before the run, and none at all."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.fakes.cuda.bindings import runtime
from tests.unit.fakes.device import SUCCESS, TO_HOST, Device
from tests.unit.fakes.networks import WEIGHTS, Build, Lane, Log, rows, scalar_model


def open_engine(trt: ModuleType, build: Build) -> Any:
    return trt.Runtime(Log(trt).logger).deserialize_cuda_engine(bytes(build.run()))


@pytest.fixture
def ranged(trt: ModuleType) -> Any:
    """An engine whose second profile takes 1 to 4 rows."""
    build = Build(trt, buckets=(1,))
    profile = build.builder.create_optimization_profile()
    profile.set_shape("x", (1, 3), (2, 3), (4, 3))
    build.config.add_optimization_profile(profile)
    return open_engine(trt, build)


def test_one_context_takes_every_shape_of_its_range(trt: ModuleType, device: Device, ranged: Any) -> None:
    lane = Lane(trt, device, ranged)
    for count in (1, 3, 4):
        assert lane.context.set_input_shape("x", (count, 3))
        assert lane.context.get_tensor_shape("y") == (count, 2)
        lane.put(rows(count))
        assert lane.context.execute_async_v3(int(lane.stream))
        y = np.zeros((count, 2), np.float32)
        assert runtime.cudaStreamSynchronize(lane.stream) == SUCCESS
        assert runtime.cudaMemcpy(y, lane.y, y.nbytes, TO_HOST) == SUCCESS
        np.testing.assert_array_equal(y, rows(count) @ WEIGHTS)
    assert not lane.context.set_input_shape("x", (5, 3))
    assert lane.context.get_max_output_size("y") == 32


def test_a_new_shape_needs_a_run_before_it_is_captured(trt: ModuleType, device: Device, ranged: Any) -> None:
    lane = Lane(trt, device, ranged)
    lane.run(rows(4))
    executable = lane.capture()
    assert lane.context.set_input_shape("x", (4, 3)), "the same shape changes nothing"
    assert runtime.cudaGraphLaunch(executable, lane.stream) == SUCCESS
    assert runtime.cudaStreamSynchronize(lane.stream) == SUCCESS
    assert lane.context.set_input_shape("x", (2, 3))
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    assert runtime.cudaStreamBeginCapture(lane.stream, mode) == SUCCESS
    assert not lane.context.execute_async_v3(int(lane.stream))
    assert runtime.cudaStreamEndCapture(lane.stream)[1] is None
    assert runtime.cudaGraphLaunch(executable, lane.stream) == SUCCESS
    assert int(runtime.cudaStreamSynchronize(lane.stream)[0]) == 700
    assert "other shapes" in device.machine.violations[0]


def test_a_scalar_stays_a_scalar(trt: ModuleType, device: Device) -> None:
    engine = open_engine(trt, Build(trt, scalar_model()))
    lane = Lane(trt, device, engine)
    assert tuple(lane.context.get_tensor_shape("y")) == ()
    assert engine.get_tensor_shape("y") == ()
    lane.run(rows(4))
    assert device.read(lane.y, 4).view(np.float32)[0] == rows(4).sum()


def test_shape_tensors_and_unknown_sizes_by_the_file(trt: ModuleType, device: Device) -> None:
    device.set(shape_tensors=["x"], data_dependent=["y"])
    engine = open_engine(trt, Build(trt))
    assert engine.get_tensor_location("x") is trt.TensorLocation.HOST
    assert engine.is_shape_inference_io("x")
    assert Lane(trt, device, engine).context.get_tensor_shape("y") == (-1, -1)
