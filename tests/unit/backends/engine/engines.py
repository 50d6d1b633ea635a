"""Plans that the tests of lanes and of the backend run, built by our builder with the fake TensorRT."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from modelyard.backends.engine import builder, library, shapes
from modelyard.backends.engine.lane import Lane, Loaded
from modelyard.backends.engine.slot import Port
from modelyard.backends.tensorrt import TensorRtBackend
from modelyard.spec import BackendSpec, BatchingSpec, ModelSpec, Precision, ShapeRange, TensorSpec
from modelyard.tensors import DTYPES
from tests.integration import onnx_models
from tests.integration.onnx_models import build, value

WEIGHT = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
BIAS = np.array([0.5, 0.25, 0.125], np.float32)
AFFINE = onnx_models.affine(WEIGHT, BIAS)
"""x FP32 [-1, 2] -> y FP32 [-1, 3]"""


def tensor(name: str, *shape: int, datatype: str = "FP32") -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def spec_of(
    inputs: tuple[TensorSpec, ...] = (tensor("x", -1, 2),),
    outputs: tuple[TensorSpec, ...] = (tensor("y", -1, 3),),
    top: int = 8,
    **batching: Any,
) -> ModelSpec:
    return ModelSpec(name="m", inputs=inputs, outputs=outputs, batching=BatchingSpec(max_batch_size=top, **batching))


def backend_of(lanes: int = 2, precision: Precision = "fp32", **ranges: tuple[int, int, int]) -> BackendSpec:
    """`ranges`: of inputs with one dimension after the batch."""
    sizes = {name: ShapeRange(min=(low,), opt=(best,), max=(high,)) for name, (low, best, high) in ranges.items()}
    return BackendSpec(name="tensorrt", lanes=lanes, precision=precision, shapes=sizes)


def plan_of(folder: Path, model: Any, spec: ModelSpec, backend: BackendSpec) -> bytes:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return builder.build(path, shapes.profiles(spec, backend), backend.precision, 2**20).plan


def open_backend(
    folder: Path, model: Any = AFFINE, spec: ModelSpec | None = None, backend: BackendSpec | None = None
) -> TensorRtBackend:
    spec, backend = spec or spec_of(), backend or backend_of()
    return TensorRtBackend(plan_of(folder, model, spec, backend), spec, backend)


def load(folder: Path, model: Any, spec: ModelSpec, backend: BackendSpec) -> Loaded:
    """As TensorRtBackend does, for a lane alone."""
    trt, journal = library.load(), library.Journal()
    engine = trt.Runtime(library.logger(trt, journal)).deserialize_cuda_engine(plan_of(folder, model, spec, backend))
    inputs, outputs = (
        tuple(Port(each.name, DTYPES[each.datatype]) for each in each_side) for each_side in (spec.inputs, spec.outputs)
    )
    free = shapes.has_free_dimensions(spec)
    return Loaded(trt, engine, journal, shapes.profiles(spec, backend), inputs, outputs, free, threading.Lock())


def open_lane(folder: Path, model: Any = AFFINE, spec: ModelSpec | None = None, **ranges: tuple[int, int, int]) -> Lane:
    return Lane(load(folder, model, spec or spec_of(), backend_of(1, "fp32", **ranges)))


def rows(count: int, width: int = 2, first: int = 0) -> NDArray[np.float32]:
    return (np.arange(count * width, dtype=np.float32) + first).reshape(count, width)


def sums() -> Any:
    """x FP32 [-1, -1] -> y FP32 [-1, 1], the sum of each row: its width may vary."""
    axes = {"axes": np.array([1])}
    return build(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"])],
        [value("x", "FP32", (-1, -1))],
        [value("y", "FP32", (-1, 1))],
        axes,
    )


def check(backend: TensorRtBackend, count: int, first: int = 0) -> None:
    """A batch of AFFINE is answered rightly."""
    (y,) = backend.infer([rows(count, first=first)], ["y"])
    np.testing.assert_allclose(y, rows(count, first=first) @ WEIGHT + BIAS, rtol=1e-5)
