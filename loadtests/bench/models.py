"""The models that every server is asked to serve, written once as ONNX files from a fixed seed.

mlp is so small that the server around it is all that is measured; encoder (of MiniLM size) is so large that the
server is nothing; the dials lie between; echo can be checked by a client without any model; convnet, exported by torch,
is what loadtests.gpu measures beside the encoder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from loadtests.bench.core import MODELS

SEED = 20240601
OPSET, IR = 17, 8
VOCABULARY, TOKENS, HIDDEN, HEADS, FFN, LAYERS = 30522, 128, 384, 12, 1536, 6
# target cost of a row -> (width, depth) of a chain of MatMuls. The matrix of those that are compared fits into a
# second-level cache with room to spare: of one that just fits, sessions of the same file differ by up to a sixth
DIALS = {"dial_10us": (64, 3), "dial_100us": (256, 20), "dial_1ms": (256, 210), "dial_30ms": (1024, 150)}


@dataclass(frozen=True)
class ModelInfo:
    """The one input and the one output of a model; shapes without the batch dimension."""

    name: str
    input: str
    datatype: str  # of the Open Inference Protocol
    columns: int
    output: str
    out_columns: int


def _dense(name: str, out_columns: int = 10) -> ModelInfo:
    return ModelInfo(name, "x", "FP32", 64, "y", out_columns)


def _encoder(name: str) -> ModelInfo:
    return ModelInfo(name, "input_ids", "INT64", TOKENS, "embedding", HIDDEN)


INFO: dict[str, ModelInfo] = {
    "mlp": _dense("mlp"),
    "echo": _dense("echo", 64),
    "encoder": _encoder("encoder"),
    "encoder_int8": _encoder("encoder_int8"),
    "convnet": ModelInfo("convnet", "x", "FP32", 3 * 64 * 64, "y", 1000),
    **{name: _dense(name) for name in DIALS},
}


def model_path(name: str) -> Path:
    """The ONNX file of model `name`, written now if it is not there or older than this module."""
    path = MODELS / f"{name}.onnx"
    if not path.exists() or path.stat().st_mtime < Path(__file__).stat().st_mtime:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".part{os.getpid()}")  # a half-written file never has the real name
        _WRITERS[name](part)
        part.rename(path)
    return path


class _Graph:
    """Nodes and initializers of a graph that grows."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.random = np.random.default_rng(SEED)

    def weight(self, values: Any) -> str:
        """Add an initializer."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def normal(self, *shape: int, scale: float | None = None) -> str:
        """Add an initializer of normal values; by default scaled so that a product keeps its size."""
        spread = scale if scale is not None else shape[0] ** -0.5
        return self.weight(self.random.normal(0.0, spread, shape).astype(np.float32))

    def node(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def save(self, info: ModelInfo, path: Path) -> None:
        """Write the graph, checked."""
        kind = TensorProto.FLOAT if info.datatype == "FP32" else TensorProto.INT64
        source = helper.make_tensor_value_info(info.input, kind, ["batch", info.columns])
        target = helper.make_tensor_value_info(info.output, TensorProto.FLOAT, ["batch", info.out_columns])
        graph = helper.make_graph(self.nodes, info.name, [source], [target], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def _write_mlp(path: Path) -> None:
    graph = _Graph()
    hidden = graph.node("Gemm", "x", graph.normal(64, 32), graph.normal(32, scale=0.1))
    graph.node("Gemm", graph.node("Relu", hidden), graph.normal(32, 10), graph.normal(10, scale=0.1), output="y")
    graph.save(INFO["mlp"], path)


def _write_echo(path: Path) -> None:
    graph = _Graph()
    doubled = graph.node("Mul", "x", graph.weight(np.array([2.0], np.float32)))
    graph.node("Add", doubled, graph.weight(np.array([1.0], np.float32)), output="y")
    graph.save(INFO["echo"], path)


def _write_dial(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        width, depth = DIALS[name]
        graph = _Graph()
        # orthogonal: the values keep their size over any depth; one matrix for all layers: the file stays small
        orthogonal = np.linalg.qr(graph.random.normal(size=(width, width)))[0].astype(np.float32)
        step = graph.weight(orthogonal)
        value = graph.node("MatMul", "x", graph.normal(64, width))
        for _ in range(depth):
            value = graph.node("MatMul", value, step)
        graph.node("MatMul", value, graph.normal(width, 10), output="y")
        graph.save(INFO[name], path)

    return write


def _write_encoder(path: Path) -> None:
    graph = _Graph()
    embedded = graph.node("Gather", graph.normal(VOCABULARY, HIDDEN, scale=1.0), "input_ids")
    value = _layer_norm(graph, graph.node("Add", embedded, graph.normal(1, TOKENS, HIDDEN, scale=0.5)))
    for _ in range(LAYERS):
        value = _layer_norm(graph, graph.node("Add", value, _attention(graph, value)))
        value = _layer_norm(graph, graph.node("Add", value, _feed_forward(graph, value)))
    graph.node("ReduceMean", value, axes=[1], keepdims=0, output="embedding")
    graph.save(INFO["encoder"], path)


def _linear(graph: _Graph, value: str, columns: int, out_columns: int) -> str:
    product = graph.node("MatMul", value, graph.normal(columns, out_columns))
    return graph.node("Add", product, graph.normal(out_columns, scale=0.02))


def _layer_norm(graph: _Graph, value: str) -> str:
    ones, zeros = np.ones(HIDDEN, np.float32), np.zeros(HIDDEN, np.float32)
    return graph.node("LayerNormalization", value, graph.weight(ones), graph.weight(zeros), axis=-1, epsilon=1e-5)


def _attention(graph: _Graph, value: str) -> str:
    split = graph.weight(np.array([0, TOKENS, HEADS, HIDDEN // HEADS], np.int64))
    query, key, content = (graph.node("Reshape", _linear(graph, value, HIDDEN, HIDDEN), split) for _ in range(3))
    query = graph.node("Transpose", query, perm=[0, 2, 1, 3])
    scores = graph.node("MatMul", query, graph.node("Transpose", key, perm=[0, 2, 3, 1]))
    scaled = graph.node("Mul", scores, graph.weight(np.float32((HIDDEN // HEADS) ** -0.5)))
    content = graph.node("Transpose", content, perm=[0, 2, 1, 3])
    mixed = graph.node("MatMul", graph.node("Softmax", scaled, axis=-1), content)
    joined = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
    flat = graph.node("Reshape", joined, graph.weight(np.array([0, TOKENS, HIDDEN], np.int64)))
    return _linear(graph, flat, HIDDEN, HIDDEN)


def _feed_forward(graph: _Graph, value: str) -> str:
    wide = _linear(graph, value, HIDDEN, FFN)
    # the exact GELU, written out: opset 17 has no operator for it, ONNX Runtime fuses these five
    error = graph.node("Erf", graph.node("Div", wide, graph.weight(np.float32(2.0**0.5))))
    one = graph.node("Add", error, graph.weight(np.float32(1.0)))
    gelu = graph.node("Mul", graph.node("Mul", wide, one), graph.weight(np.float32(0.5)))
    return _linear(graph, gelu, FFN, HIDDEN)


def _write_encoder_int8(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = model_path("encoder")
    quantize_dynamic(source, path, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def _write_convnet(path: Path) -> None:
    from loadtests.bench.convnet import export_convnet

    export_convnet(path)


_WRITERS: dict[str, Callable[[Path], None]] = {
    "mlp": _write_mlp,
    "echo": _write_echo,
    "encoder": _write_encoder,
    "encoder_int8": _write_encoder_int8,
    "convnet": _write_convnet,
    **{name: _write_dial(name) for name in DIALS},
}
