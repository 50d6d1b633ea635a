"""Small ONNX models, made on the spot with onnx.helper, whose right answer a test can say by itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper

OPSET = 21
IR_VERSION = 10

#: OIP datatype -> ONNX element type.
ELEMENT_TYPES: dict[str, int] = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}

Dimension = int | str


def value(name: str, datatype: str, shape: Sequence[Dimension]) -> onnx.ValueInfoProto:
    """A graph input or output; -1 becomes a symbol: `N`, common to all, in front; its own elsewhere."""
    dims: list[Dimension] = []
    for place, size in enumerate(shape):
        dims.append(size if size != -1 else ("N" if place == 0 else f"{name}_{place}"))
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[datatype], dims)


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    """A checked model of `nodes`."""
    weights = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model, full_check=True)
    return model


def identity(datatype: str = "FP32", shape: Sequence[int] = (-1, -1)) -> onnx.ModelProto:
    """`x` comes out as `y`, bit for bit."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return build([node], [value("x", datatype, shape)], [value("y", datatype, shape)])


def many_datatypes(datatypes: Sequence[str]) -> onnx.ModelProto:
    """One input `<datatype>_in` and one equal output `<datatype>_out`, [-1, -1] each, for each of `datatypes`."""
    names = [name.lower() for name in datatypes]
    nodes = [helper.make_node("Identity", [f"{name}_in"], [f"{name}_out"]) for name in names]
    inputs = [value(f"{name}_in", name.upper(), (-1, -1)) for name in names]
    outputs = [value(f"{name}_out", name.upper(), (-1, -1)) for name in names]
    return build(nodes, inputs, outputs)


def affine(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> onnx.ModelProto:
    """`y = x @ weight + bias`: x FP32 [-1, rows of weight], y FP32 [-1, columns of weight]."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["y"]),
    ]
    constants = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
    width, height = weight.shape
    return build(nodes, [value("x", "FP32", (-1, width))], [value("y", "FP32", (-1, height))], constants)


def two_inputs() -> onnx.ModelProto:
    """a FP32 [-1, 4] and b INT32 [-1, 4] -> sum FP32 = a + b, twice INT32 = 2 b (it wraps), both [-1, 4]."""
    nodes = [
        helper.make_node("Cast", ["b"], ["b_float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "b_float"], ["sum"]),
        helper.make_node("Add", ["b", "b"], ["twice"]),
    ]
    inputs = [value("a", "FP32", (-1, 4)), value("b", "INT32", (-1, 4))]
    return build(nodes, inputs, [value("sum", "FP32", (-1, 4)), value("twice", "INT32", (-1, 4))])


def gather_table(size: int) -> onnx.ModelProto:
    """index INT64 [-1, 1] -> row FP32 [-1, 2] = (index, 10 index). Outside [-size, size) the run fails."""
    numbers = np.arange(size, dtype=np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "index"], ["found"], axis=0),
        helper.make_node("Flatten", ["found"], ["row"], axis=1),
    ]
    constants = {"table": np.stack([numbers, numbers * 10], axis=1)}
    return build(nodes, [value("index", "INT64", (-1, 1))], [value("row", "FP32", (-1, 2))], constants)


def strings() -> onnx.ModelProto:
    """left BYTES [-1, 1] and right BYTES [-1, 1] -> joined BYTES [-1, 1]."""
    node = helper.make_node("StringConcat", ["left", "right"], ["joined"])
    inputs = [value("left", "BYTES", (-1, 1)), value("right", "BYTES", (-1, 1))]
    return build([node], inputs, [value("joined", "BYTES", (-1, 1))])


def random_normal() -> onnx.ModelProto:
    """x FP32 [-1, 4] -> noise FP32 [-1, 4], other numbers at every run: equal answers came from the cache."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["drawn"], dtype=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "drawn"], ["noise"]),
    ]
    return build(nodes, [value("x", "FP32", (-1, 4))], [value("noise", "FP32", (-1, 4))])


def reciprocal() -> onnx.ModelProto:
    """x FP32 [-1, 4] -> y = 1 / x: a good input (zero) whose answer (Infinity) JSON cannot hold."""
    node = helper.make_node("Reciprocal", ["x"], ["y"])
    return build([node], [value("x", "FP32", (-1, 4))], [value("y", "FP32", (-1, 4))])


def busy_loop(turns: str) -> onnx.NodeProto:
    """A Loop that multiplies a small matrix `turns` times; too small for threads to change its time."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "busy_weight"], ["next_state"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [32, 32]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, [32, 32]),
        ],
    )
    return helper.make_node("Loop", [turns, "", "busy_start"], ["busy_end"], body=body)


def _busy_model(milliseconds_of: Sequence[onnx.NodeProto], turns_per_millisecond: float) -> onnx.ModelProto:
    """x FP32 [-1, 1] -> y = x, after a busy loop of `longest` (a scalar) milliseconds."""
    nodes = [
        *milliseconds_of,
        helper.make_node("Mul", ["longest", "turns_per_ms"], ["turns_float"]),
        helper.make_node("Cast", ["turns_float"], ["turns"], to=TensorProto.INT64),
        busy_loop("turns"),
        helper.make_node("ReduceSum", ["busy_end"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    constants = {
        "turns_per_ms": np.array(turns_per_millisecond, np.float32),
        "busy_start": np.zeros((32, 32), np.float32),
        "busy_weight": np.full((32, 32), 0.01, np.float32),
    }
    return build(nodes, [value("x", "FP32", (-1, 1))], [value("y", "FP32", (-1, 1))], constants)


def _slow_by_input(turns_per_millisecond: float, most_milliseconds: float = 10_000.0) -> onnx.ModelProto:
    longest = [
        helper.make_node("Constant", [], ["least"], value_float=0.0),
        helper.make_node("Constant", [], ["most"], value_float=most_milliseconds),
        helper.make_node("ReduceMax", ["x"], ["wanted"], keepdims=0),
        helper.make_node("Clip", ["wanted", "least", "most"], ["longest"]),
    ]
    return _busy_model(longest, turns_per_millisecond)


@cache
def turns_per_millisecond() -> float:
    """How many turns of the busy loop this machine makes in a millisecond: the best of many tries, measured once."""
    session = session_of(_slow_by_input(1.0))
    turns = 2_000
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        session.run(None, {"x": np.array([[turns]], np.float32)})
        best = min(best, time.perf_counter() - began)
    return turns / (best * 1000.0)


def slow(milliseconds: float) -> onnx.ModelProto:
    """x FP32 [-1, 1] -> y = x; every run takes about `milliseconds`, whatever the number of rows."""
    always = [helper.make_node("Constant", [], ["longest"], value_float=float(milliseconds))]
    return _busy_model(always, turns_per_millisecond())


def slow_by_input() -> onnx.ModelProto:
    """x FP32 [-1, 1] -> y = x; a run takes about max(x) milliseconds (0 to 10,000)."""
    return _slow_by_input(turns_per_millisecond())


def loop(turns: int) -> onnx.ModelProto:
    """x FP32 [-1, 4] -> y = x after so many turns that do nothing."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["state"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["N", 4]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["N", 4]),
        ],
    )
    node = helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)
    sides = [value(name, "FP32", (-1, 4)) for name in "xy"]
    return build([node], sides[:1], sides[1:], {"turns": np.array(turns)})


def session_of(model: onnx.ModelProto) -> Any:
    """The model in ONNX Runtime on one thread: what a server's answers are compared with."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
