"""TensorRT behind the port, on a fake device that really computes: answers, lanes, and plans that are refused."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from modelyard.backends.base import BackendUnavailable
from modelyard.backends.engine.builder import UnsupportedModel
from modelyard.backends.engine.shapes import OutsideProfile
from modelyard.backends.tensorrt import PlanRefused, TensorRtBackend
from modelyard.errors import ConfigurationError
from modelyard.tensors import DTYPES
from tests.integration import onnx_models
from tests.integration.onnx_models import build, value
from tests.unit.backends.engine.engines import (
    AFFINE,
    BIAS,
    WEIGHT,
    backend_of,
    check,
    open_backend,
    plan_of,
    rows,
    spec_of,
    sums,
    tensor,
)
from tests.unit.conftest import Gpu

BOTH = pytest.mark.parametrize("level", ["10", "11"])


@BOTH
@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 9, 16, 27])
def test_batches_of_any_size_are_answered(tmp_path: Path, gpu: Gpu, count: int) -> None:
    backend = open_backend(tmp_path)
    assert (backend.name, backend.precision, backend.lanes) == ("tensorrt", "fp32", 2)
    for first in (0, 50):
        check(backend, count, first)
    backend.close()


def test_half_answers_nearly_the_same(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path, backend=backend_of(precision="fp16"))
    assert backend.precision == "fp16"
    (y,) = backend.infer([rows(3)], ["y"])
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, rows(3) @ WEIGHT + BIAS, rtol=1e-2)
    backend.close()


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT8", "INT32", "INT64", "FP16", "FP32"])
def test_every_datatype_goes_through_bit_for_bit(tmp_path: Path, gpu: Gpu, datatype: str) -> None:
    spec = spec_of((tensor("x", -1, 32, datatype=datatype),), (tensor("y", -1, 32, datatype=datatype),))
    model = onnx_models.identity(datatype, (-1, 32))
    backend = open_backend(tmp_path, model, spec)
    bits = np.array([[0, 1, 0x7F, 0x3C]], np.uint8) & (1 if datatype == "BOOL" else 0xFF)
    array = np.tile(bits, (3, 8 * DTYPES[datatype].itemsize)).view(DTYPES[datatype])
    (found,) = backend.infer([array], ["y"])
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()
    backend.close()


def test_answers_are_the_callers_own(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path, backend=backend_of(lanes=1))
    (first,) = backend.infer([rows(8)], ["y"])
    kept = first.copy()
    backend.infer([rows(8, first=100)], ["y"])
    backend.close()
    assert (first == kept).all()
    assert first.flags.owndata


def test_a_model_without_batches(tmp_path: Path, gpu: Gpu) -> None:
    model = build(
        [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0), helper.make_node("Neg", ["x"], ["y"])],
        [value("x", "FP32", (3, 2))],
        [value("y", "FP32", (3, 2)), value("total", "FP32", ())],
    )
    spec = spec_of((tensor("x", 3, 2),), (tensor("y", 3, 2), tensor("total")), top=0)
    backend = open_backend(tmp_path, model, spec)
    assert list(backend.warm()) == [0]
    total, y = backend.infer([rows(3)], ["total", "y"])
    assert (total.shape, float(total), (y == -rows(3)).all()) == ((), 15.0, True)
    backend.close()


def test_outputs_that_model_yaml_does_not_list_get_memory_too(tmp_path: Path, gpu: Gpu) -> None:
    inputs = (tensor("a", -1, 4), tensor("b", -1, 4, datatype="INT32"))
    spec = spec_of(inputs, (tensor("twice", -1, 4, datatype="INT32"),))
    backend = open_backend(tmp_path, onnx_models.two_inputs(), spec)
    (twice,) = backend.infer([np.ones((2, 4), np.float32), np.full((2, 4), 3, np.int32)], ["twice"])
    assert (twice == 6).all()
    backend.close()


def test_shapes_that_vary(tmp_path: Path, gpu: Gpu) -> None:
    spec = spec_of((tensor("x", -1, -1),), (tensor("y", -1, 1),), top=4)
    backend = open_backend(tmp_path, sums(), spec, backend_of(x=(1, 4, 16)))
    backend.warm()
    for count, width in ((1, 1), (3, 16), (9, 5), (4, 4)):
        (y,) = backend.infer([rows(count, width)], ["y"])
        np.testing.assert_allclose(y[:, 0], rows(count, width).sum(1))
    with pytest.raises(OutsideProfile):
        backend.infer([rows(1, 17)], ["y"])
    backend.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=12), buckets=st.sets(st.integers(1, 9), max_size=3))
def test_any_sequence_of_batches_is_answered(tmp_path: Path, gpu: Gpu, sizes: list[int], buckets: set[int]) -> None:
    backend = open_backend(tmp_path, spec=spec_of(top=9, buckets=tuple(buckets)), backend=backend_of(lanes=1))
    for number, count in enumerate(sizes):
        check(backend, count, number)
    backend.close()


def test_many_threads_get_their_own_answers(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: check(backend, number % 20 + 1, number), range(120)))
    backend.close()


def test_the_lane_that_was_used_last_is_used_next(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path, backend=backend_of(lanes=3))
    last = backend._idle[-1]
    for _ in range(3):
        check(backend, 1)
        assert backend._idle[-1] is last
    backend.close()


def test_warming_runs_every_bucket_of_every_lane(tmp_path: Path, gpu: Gpu) -> None:
    backend = open_backend(tmp_path)
    assert list(backend.warm()) == [1, 2, 4, 8]
    enqueued = gpu.count("enqueues")
    assert enqueued == 2 * 4 * 2
    for count in (1, 2, 3, 8):
        check(backend, count)
    assert gpu.count("enqueues") == enqueued
    backend.close()


def test_a_plan_that_tensorrt_does_not_read(tmp_path: Path, gpu: Gpu) -> None:
    for plan in (b"", b"rubbish"):
        with pytest.raises(PlanRefused, match="read the plan"):
            TensorRtBackend(plan, spec_of(), backend_of())


def test_a_plan_of_another_tensorrt(tmp_path: Path, gpu: Gpu) -> None:
    plan = plan_of(tmp_path, AFFINE, spec_of(), backend_of())
    gpu.set(plan="foreign")
    with pytest.raises(PlanRefused):
        TensorRtBackend(plan, spec_of(), backend_of())


def test_a_plan_of_other_profiles(tmp_path: Path, gpu: Gpu) -> None:
    plan = plan_of(tmp_path, AFFINE, spec_of(), backend_of())
    with pytest.raises(PlanRefused, match="4 profiles, 2 are asked for"):
        TensorRtBackend(plan, spec_of(top=2), backend_of())


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (spec_of(inputs=(tensor("x", -1, 2, datatype="INT32"),)), "input 'x' is INT32, the engine has FP32"),
        (spec_of(outputs=(tensor("z", -1, 3),)), "output 'z' is FP32, the engine has none"),
    ],
)
def test_an_engine_that_is_not_what_model_yaml_says(tmp_path: Path, gpu: Gpu, spec: Any, text: str) -> None:
    plan = plan_of(tmp_path, AFFINE, spec_of(), backend_of())
    with pytest.raises(ConfigurationError, match=text):
        TensorRtBackend(plan, spec, backend_of())


def test_an_input_that_model_yaml_leaves_out(tmp_path: Path, gpu: Gpu) -> None:
    inputs = (tensor("a", -1, 4), tensor("b", -1, 4, datatype="INT32"))
    plan = plan_of(tmp_path, onnx_models.two_inputs(), spec_of(inputs, (tensor("sum", -1, 4),)), backend_of())
    with pytest.raises(ConfigurationError, match=r"inputs \['b'\]"):
        TensorRtBackend(plan, spec_of(inputs[:1], (tensor("sum", -1, 4),)), backend_of())


def test_strings_are_not_for_tensorrt(gpu: Gpu) -> None:
    with pytest.raises(BackendUnavailable, match="BYTES"):
        TensorRtBackend(b"", spec_of((tensor("x", -1, 2, datatype="BYTES"),)), backend_of())


def test_an_output_whose_first_dimension_is_no_batch(tmp_path: Path, gpu: Gpu) -> None:
    model = build(
        [helper.make_node("Transpose", ["x"], ["y"])], [value("x", "FP32", (-1, 3))], [value("y", "FP32", (3, -1))]
    )
    spec = spec_of((tensor("x", -1, 3),), (tensor("y", -1, 3),))
    with pytest.raises(BackendUnavailable, match="its first dimension is no batch"):
        open_backend(tmp_path, model, spec)


def test_an_input_that_decides_on_shapes(tmp_path: Path, gpu: Gpu) -> None:
    plan = plan_of(tmp_path, AFFINE, spec_of(), backend_of())
    gpu.set(shape_tensors=["x"])
    with pytest.raises(BackendUnavailable, match="'x' decides on shapes"):
        TensorRtBackend(plan, spec_of(), backend_of())
    with pytest.raises(UnsupportedModel, match="'x' decides on shapes"):
        plan_of(tmp_path, AFFINE, spec_of(), backend_of())


def test_without_a_driver_tensorrt_is_never_called(tmp_path: Path, gpu: Gpu) -> None:
    plan = plan_of(tmp_path, AFFINE, spec_of(), backend_of())
    gpu.set(driver=False)  # Runtime() would end this process
    with pytest.raises(BackendUnavailable, match="no NVIDIA driver"):
        TensorRtBackend(plan, spec_of(), backend_of())


def test_without_tensorrt(tmp_path: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendUnavailable, match="not installed"):
        TensorRtBackend(b"", spec_of(), backend_of())
