"""Models that a number format is kind or unkind to, published with the held-out rows that `optimize` needs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import helper

from modelyard.evaluation import Evaluation
from modelyard.manifest import publish
from modelyard.tensors import Array, Tensor
from tests.integration.onnx_models import build, session_of, value

ROWS = 60
CLASSES = 10
QUALITY = {"output": "scores", "measure": "top1"}


def wide(width: int = 768, layers: int = 2) -> onnx.ModelProto:
    """x FP32 [-1, 64] -> scores FP32 [-1, 10], through layers that are nothing but products of matrices."""
    random = np.random.default_rng(3)
    sizes = [64, *[width] * layers]
    nodes, constants, last = [], {}, "x"
    for index, (rows, columns) in enumerate(pairwise(sizes)):
        constants[f"weight{index}"] = _weight(random, rows, columns)
        nodes += [
            helper.make_node("MatMul", [last, f"weight{index}"], [f"product{index}"]),
            helper.make_node("Relu", [f"product{index}"], [f"hidden{index}"]),
        ]
        last = f"hidden{index}"
    constants["weight"], constants["bias"] = _weight(random, width, CLASSES), np.zeros(CLASSES, np.float32)
    nodes.append(helper.make_node("Gemm", [last, "weight", "bias"], ["scores"]))
    return build(nodes, [value("x", "FP32", (-1, 64))], [value("scores", "FP32", (-1, CLASSES))], constants)


def overshadowed() -> onnx.ModelProto:
    """x FP32 [-1, 64] -> scores: the first column of x, which is large, counts for nothing. One scale for a whole row
    leaves nothing of the others.
    """
    weight = _weight(np.random.default_rng(5), 64, CLASSES)
    weight[0] = 0
    node = helper.make_node("MatMul", ["x", "weight"], ["scores"])
    sides = value("x", "FP32", (-1, 64)), value("scores", "FP32", (-1, CLASSES))
    return build([node], sides[:1], sides[1:], {"weight": weight})


def convolutional() -> onnx.ModelProto:
    """x FP32 [-1, 1, 8, 8] -> scores FP32 [-1, 10]: two convolutions, a pooling and a product."""
    random = np.random.default_rng(4)
    constants = {
        "first": (random.standard_normal((16, 1, 3, 3)) / 3).astype(np.float32),
        "second": (random.standard_normal((32, 16, 3, 3)) / 12).astype(np.float32),
        "weight": _weight(random, 32 * 16, CLASSES),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "weight"], ["scores"]),
    ]
    return build(nodes, [value("x", "FP32", (-1, 1, 8, 8))], [value("scores", "FP32", (-1, CLASSES))], constants)


def publish_model(
    repository: Path,
    name: str,
    model: onnx.ModelProto,
    *,
    quality: Mapping[str, Any] | None = None,
    evaluation: bool = True,
    calibration: bool = True,
    large_first: bool = False,
) -> Path:
    """Version 1 of `model` with rows that it answers clearly; their truth is what it answers. Gives the model folder.

    `large_first`: the first column of x is a thousand times the others.
    """
    folder = repository / name
    folder.mkdir(parents=True)
    document = {
        "name": name,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": _shape(model.graph.input[0])}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, CLASSES]}],
        "batching": {"max_batch_size": 32},
        "quality": dict(QUALITY if quality is None else quality),
    }
    document = {key: item for key, item in document.items() if item}
    (folder / "model.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    rows, truth = _clear_rows(model, large_first=large_first)
    artifact = repository / "model.onnx"
    onnx.save(model, artifact)
    kept = Evaluation({"x": rows[:ROWS]}, truth[:ROWS], {"x": rows[ROWS:]} if calibration else {})
    golden = session_of(model).run(["scores"], {"x": rows[:4]})
    publish(
        folder,
        "1",
        artifact,
        golden_inputs=[Tensor.from_array("x", rows[:4])],
        golden_outputs=[Tensor.from_array("scores", golden[0])],
        metrics={"accuracy": 1.0},
        evaluation=kept if evaluation else None,
    )
    return folder


def _clear_rows(model: onnx.ModelProto, *, large_first: bool) -> tuple[Array, Array]:
    """Of many made-up rows those whose two highest scores lie farthest apart, and the class of each."""
    random = np.random.default_rng(6)
    shape = _shape(model.graph.input[0])[1:]
    rows = random.standard_normal((16 * ROWS, *shape)).astype(np.float32)
    if large_first:
        rows[:, 0] *= 1000
    (scores,) = session_of(model).run(["scores"], {"x": rows})
    ordered = np.sort(scores, axis=1)
    clear = np.argsort(ordered[:, -2] - ordered[:, -1])[: 2 * ROWS]
    random.shuffle(clear)
    return rows[clear], scores[clear].argmax(axis=1).astype(np.int64)


def _weight(random: np.random.Generator, rows: int, columns: int) -> Array:
    weight: Array = (random.standard_normal((rows, columns)) / rows**0.5).astype(np.float32)
    return weight


def _shape(tensor: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value or -1 for dim in tensor.type.tensor_type.shape.dim]
