"""One lane: right answers in every bucket, graphs where shapes recur, nothing left on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.backends.base import BackendUnavailable, DeviceLost, OutOfMemory
from modelyard.backends.engine import lane as lanes
from modelyard.backends.engine.lane import GRAPH_AFTER
from modelyard.backends.engine.shapes import OutsideProfile
from tests.integration import onnx_models
from tests.unit.backends.engine.engines import (
    AFFINE,
    BIAS,
    WEIGHT,
    backend_of,
    load,
    open_lane,
    rows,
    spec_of,
    sums,
    tensor,
)
from tests.unit.conftest import Gpu

SUMS = spec_of((tensor("x", -1, -1),), (tensor("y", -1, 1),), top=4)


@pytest.mark.parametrize("level", ["10", "11"])
@pytest.mark.parametrize(("bucket", "count"), [(0, 1), (1, 2), (2, 3), (3, 5), (3, 8)])
def test_a_batch_is_answered_in_its_bucket(tmp_path: Path, gpu: Gpu, bucket: int, count: int) -> None:
    lane = open_lane(tmp_path)
    for first in (0, 100):
        (y,) = lane.infer(bucket, [rows(count, first=first)], count, [0])
        np.testing.assert_allclose(y, rows(count, first=first) @ WEIGHT + BIAS)
    lane.close()


def test_a_bucket_is_enqueued_once_then_captured_then_launched(tmp_path: Path, gpu: Gpu) -> None:
    lane = open_lane(tmp_path)
    lane.warm()
    enqueued = gpu.count("enqueues")
    assert enqueued == 2 * 4  # of every bucket: once to run, once to be captured
    for _ in range(3):
        lane.infer(1, [rows(2)], 2, [0])
    assert gpu.count("enqueues") == enqueued
    lane.close()


def test_rows_that_pad_a_bucket_are_zero_whatever_ran_before(tmp_path: Path, gpu: Gpu) -> None:
    """The sum over the batch shows what stands in the padding."""
    lane = open_lane(tmp_path)
    pin = lane._inputs[0]
    for count in (8, 3, 5, 1, 8, 0):
        lane.infer(3, [rows(count, first=1)], count, [0])
        on_device = gpu.machine.device_bytes(pin.device.address, 8 * 2 * 4).view(np.float32).reshape(8, 2)
        assert (on_device[:count] == rows(count, first=1)).all()
        assert (on_device[count:] == 0).all()
    lane.close()


def test_no_rows_give_no_rows(tmp_path: Path, gpu: Gpu) -> None:
    lane = open_lane(tmp_path)
    (y,) = lane.infer(0, [rows(0)], 0, [0])
    assert y.shape == (0, 3)
    lane.close()


def test_only_outputs_that_are_wanted_are_given(tmp_path: Path, gpu: Gpu) -> None:
    inputs = (tensor("a", -1, 4), tensor("b", -1, 4, datatype="INT32"))
    outputs = (tensor("sum", -1, 4), tensor("twice", -1, 4, datatype="INT32"))
    lane = open_lane(tmp_path, onnx_models.two_inputs(), spec_of(inputs, outputs))
    arrays: list[Any] = [np.ones((2, 4), np.float32), np.full((2, 4), 3, np.int32)]
    twice, total = (each.copy() for each in lane.infer(1, arrays, 2, [1, 0]))
    assert (twice.tolist(), total.tolist()) == ([[6] * 4] * 2, [[4.0] * 4] * 2)
    assert len(lane.infer(1, arrays, 2, [0])) == 1
    lane.close()


def test_arrays_need_not_lie_in_one_piece(tmp_path: Path, gpu: Gpu) -> None:
    lane = open_lane(tmp_path)
    wide = rows(8, 4)[::2, 1:3]
    (y,) = lane.infer(2, [wide], 4, [0])
    np.testing.assert_allclose(y, wide @ WEIGHT + BIAS)
    lane.close()


def test_shapes_that_vary_are_answered_and_those_that_recur_get_a_graph(tmp_path: Path, gpu: Gpu) -> None:
    lane = open_lane(tmp_path, sums(), SUMS, x=(1, 4, 16))
    for width in (4, 16, 1, 4, 7, 4, 4, 16):
        (y,) = lane.infer(1, [rows(2, width)], 2, [0])
        np.testing.assert_allclose(y[:, 0], rows(2, width).sum(1))
    enqueued = gpu.count("enqueues")
    for _ in range(3):
        lane.infer(1, [rows(2, 4)], 2, [0])
    assert gpu.count("enqueues") == enqueued
    lane.infer(1, [rows(2, 5)], 2, [0])
    assert gpu.count("enqueues") == enqueued + 1
    lane.close()


def test_graphs_of_varying_shapes_are_bounded(tmp_path: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_GRAPHS", 2)
    monkeypatch.setattr(lanes, "MAX_COUNTED", 5)
    lane = open_lane(tmp_path, sums(), SUMS, x=(1, 4, 16))
    for width in range(1, 17):
        for _ in range(GRAPH_AFTER):
            (y,) = lane.infer(0, [rows(1, width)], 1, [0])
            assert y[0, 0] == rows(1, width).sum()
    assert len(lane._hot) == 2
    assert len(lane._seen) <= 5
    lane.close()


def test_shapes_outside_the_profile_are_refused_and_harm_nothing(tmp_path: Path, gpu: Gpu) -> None:
    lane = open_lane(tmp_path, sums(), SUMS, x=(1, 4, 16))
    with pytest.raises(OutsideProfile, match="17"):
        lane.infer(1, [rows(2, 17)], 2, [0])
    (y,) = lane.infer(1, [rows(2, 16)], 2, [0])
    assert y.shape == (2, 1)
    lane.close()


def test_without_memory_for_one_more_context_batches_run_in_the_buckets(tmp_path: Path, gpu: Gpu) -> None:
    lane = open_lane(tmp_path, sums(), SUMS, x=(1, 4, 16))
    for _ in range(GRAPH_AFTER - 1):
        lane.infer(1, [rows(2, 4)], 2, [0])
    gpu.set(contexts_fail_after=0)
    for _ in range(5):
        (y,) = lane.infer(1, [rows(2, 4)], 2, [0])
        np.testing.assert_allclose(y[:, 0], rows(2, 4).sum(1))
    assert lane._max_graphs == 0
    lane.close()


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ({"data_dependent": ["y"]}, BackendUnavailable, "output 'y' depends on the data"),
        ({"contexts_fail_after": 2}, OutOfMemory, "execution context"),
    ],
)
def test_a_lane_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, gpu: Gpu, fault: dict[str, Any], kind: type[Exception], text: str
) -> None:
    loaded = load(tmp_path, AFFINE, spec_of(), backend_of())
    gpu.set(**fault)
    with pytest.raises(kind, match=text):
        lanes.Lane(loaded)
    assert not {"pinned_bytes", "streams", "contexts"} & set(gpu.machine.held())
    del loaded


@pytest.mark.parametrize("fault", [{"capture": "refuse"}, {"calls": {"cudaGraphInstantiate": 2}}])
def test_what_cannot_be_captured_runs_without_a_graph(
    tmp_path: Path, gpu: Gpu, caplog: pytest.LogCaptureFixture, fault: dict[str, Any]
) -> None:
    lane = open_lane(tmp_path)
    gpu.set(**fault)
    for _ in range(3):
        (y,) = lane.infer(0, [rows(1)], 1, [0])
        np.testing.assert_allclose(y, rows(1) @ WEIGHT + BIAS)
    assert caplog.text.count("without a CUDA graph") == 1
    lane.close()


def test_a_lost_device_is_said_and_freeing_goes_on(tmp_path: Path, gpu: Gpu) -> None:
    gpu.forgiven = True
    lane = open_lane(tmp_path)
    gpu.set(execute={"error": 700})
    with pytest.raises(DeviceLost):
        lane.infer(0, [rows(1)], 1, [0])
    with pytest.raises(DeviceLost):
        lane.infer(0, [rows(1)], 1, [0])
    lane.close()


def test_a_failure_that_passes_leaves_the_lane_good(tmp_path: Path, gpu: Gpu) -> None:
    lane = open_lane(tmp_path)
    lane.infer(0, [rows(1)], 1, [0])
    gpu.set(execute={"error": 2, "times": 1})
    with pytest.raises(OutOfMemory):
        lane.infer(0, [rows(1)], 1, [0])
    (y,) = lane.infer(0, [rows(1)], 1, [0])
    np.testing.assert_allclose(y, rows(1) @ WEIGHT + BIAS)
    lane.close()


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("what", ["malloc", "host_malloc"])
def test_an_allocation_that_fails_at_any_moment_leaves_nothing_behind(
    tmp_path: Path, gpu: Gpu, what: str, number: int
) -> None:
    loaded = load(tmp_path, onnx_models.two_inputs(), _two(), backend_of())
    gpu.set(**{f"{what}_fails_after": number})
    try:
        lane = lanes.Lane(loaded)
    except OutOfMemory:
        assert number < 5
        held = gpu.machine.held()
        assert not {"pinned_bytes", "streams", "graphs", "executables", "contexts"} & set(held)
    else:
        assert number >= 4
        lane.close()
    gpu.set()
    del loaded


def _two() -> Any:
    inputs = (tensor("a", -1, 4), tensor("b", -1, 4, datatype="INT32"))
    return spec_of(inputs, (tensor("sum", -1, 4), tensor("twice", -1, 4, datatype="INT32")))


def test_memory_is_counted_and_scratch_is_shared_by_the_buckets(tmp_path: Path, gpu: Gpu) -> None:
    loaded = load(tmp_path, onnx_models.affine(WEIGHT, BIAS), spec_of(), backend_of())
    before = gpu.machine.memory.device_bytes
    lane = lanes.Lane(loaded)
    assert gpu.machine.memory.device_bytes - before == lane.device_bytes
    assert gpu.machine.memory.device_allocations == 1 + 3  # the engine's weights; x, y and one scratch
    assert gpu.machine.held()["contexts"] == 4
    lane.close()
    assert gpu.machine.memory.device_bytes == before
    del loaded
