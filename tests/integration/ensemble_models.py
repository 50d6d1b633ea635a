"""An ensemble whose right answer a test can say by itself, and ways to ask its members in the same server.

x FP32 [-1, 1] -> left    y = 2 x + 1              -> from_left  -> total = from_left + 10 from_right
               -> right   y = x, takes x ms        -> from_right -> gap = from_left - from_right
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import helper

from modelyard.manifest import publish
from tests.integration.calls import Array, ask, row
from tests.integration.harness import Server
from tests.integration.onnx_models import affine, build, slow_by_input, value

NAME, LEFT, RIGHT = "both", "left", "right"
WEIGHT, BIAS = np.array([[2.0]], np.float32), np.array([1.0], np.float32)
Document = dict[str, Any]


def tensor(name: str, datatype: str = "FP32", *sizes: int) -> Document:
    """An input or output of model.yaml: [-1, 1] unless sizes are given."""
    return {"name": name, "datatype": datatype, "shape": [-1, *(sizes or (1,))]}


def member(model: str, outputs: Mapping[str, str], inputs: Mapping[str, str] | None = None) -> Document:
    """An entry of `ensemble` in model.yaml."""
    return {"model": model, "inputs": dict(inputs or {"x": "x"}), "outputs": dict(outputs)}


def document(name: str, inputs: list[Document], outputs: list[Document], **more: Any) -> Document:
    """A model.yaml."""
    return {
        "name": name,
        "inputs": inputs,
        "outputs": outputs,
        "backends": [{"name": "onnxruntime-cpu"}],
        "limits": {"queue_seconds": 60.0},
        **more,
    }


def bring(repository: Path, spec: Document, model: onnx.ModelProto, version: str = "1") -> None:
    """A version of a model, with its model.yaml."""
    folder = repository / spec["name"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    artifact = repository / "model.onnx"
    onnx.save(model, artifact)
    publish(folder, version, artifact)
    artifact.unlink()


def vote() -> onnx.ModelProto:
    """from_left, from_right -> total = from_left + 10 from_right, gap = from_left - from_right."""
    nodes = [
        helper.make_node("Mul", ["from_right", "ten"], ["tenfold"]),
        helper.make_node("Add", ["from_left", "tenfold"], ["total"]),
        helper.make_node("Sub", ["from_left", "from_right"], ["gap"]),
    ]
    inputs = [value(name, "FP32", (-1, 1)) for name in ("from_left", "from_right")]
    outputs = [value(name, "FP32", (-1, 1)) for name in ("total", "gap")]
    return build(nodes, inputs, outputs, {"ten": np.array([10.0], np.float32)})


def left(repository: Path, weight: float = 2.0, version: str = "1", output: str = "y") -> None:
    """A version of `left`: y = weight x + 1."""
    model = affine(np.array([[weight]], np.float32), BIAS)
    model.graph.node[-1].output[0] = model.graph.output[0].name = output
    bring(repository, document(LEFT, [tensor("x")], [tensor(output)]), model, version)


def repository_of(repository: Path, **more: Any) -> Path:
    """`both`, `left` and `right`, side by side; `more` goes into every model.yaml."""
    left(repository)
    bring(repository, document(RIGHT, [tensor("x")], [tensor("y")], **more), slow_by_input())
    parts = [member(LEFT, {"y": "from_left"}), member(RIGHT, {"y": "from_right"})]
    spec = document(NAME, [tensor("x")], [tensor("total"), tensor("gap")], ensemble=parts, **more)
    bring(repository, {**spec, "cache": {"enabled": False}}, vote())
    return repository


def expected(x: Array) -> dict[str, Array]:
    """What `both` answers to x."""
    of_left, of_right = x @ WEIGHT + BIAS, x
    return {"total": of_left + 10 * of_right, "gap": of_left - of_right}


def of(server: Server, model: str) -> Server:
    """The same server, asked for another of its models."""
    return dataclasses.replace(server, name=model)


def requests(server: Server, model: str, protocol: str, outcome: str = "ok") -> float:
    """Requests to a model so far."""
    return server.metric("modelyard_requests_total", model=model, protocol=protocol, outcome=outcome)


def computed_rows(server: Server, model: str) -> float:
    """Rows that a model has run on so far."""
    return server.metric("modelyard_batch_rows_sum", model=model)


def works(server: Server) -> None:
    """It still answers, and right."""
    x = row(0.5)
    for name, array in expected(x).items():
        np.testing.assert_allclose(ask(server, {"x": x}).outputs[name], array, rtol=1e-6)
