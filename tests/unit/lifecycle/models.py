"""Small models on disk, made on the spot, for the tests of the life of a version."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray
from onnx import helper

from modelyard.evaluation import Evaluation
from modelyard.manifest import Interface, publish
from modelyard.spec import Precision, TensorSpec
from modelyard.tensors import Tensor
from tests.integration import onnx_models

NAME = "scaled"
X = np.arange(18, dtype=np.float32).reshape(9, 2) / 9
INPUT = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
OUTPUT = {"name": "y", "datatype": "FP32", "shape": [-1, 2]}
SPEC: dict[str, Any] = {
    "name": NAME,
    "inputs": [INPUT],
    "outputs": [OUTPUT],
    "backends": [{"name": "onnxruntime-cpu"}],
    "batching": {"max_batch_size": 16},
}


def write_spec(repository: Path, **changes: Any) -> Path:
    """model.yaml of the model; returns its folder."""
    folder = repository / NAME
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(yaml.safe_dump(SPEC | changes))
    return folder


def scale(factor: float) -> onnx.ModelProto:
    """y = factor x."""
    return onnx_models.affine(np.eye(2, dtype=np.float32) * factor, np.zeros(2, np.float32))


def named_output(*names: str) -> onnx.ModelProto:
    """Each of the outputs is the input."""
    nodes = [helper.make_node("Identity", ["x"], [name]) for name in names]
    value = onnx_models.value
    return onnx_models.build(nodes, [value("x", "FP32", (-1, 2))], [value(name, "FP32", (-1, 2)) for name in names])


def add(
    folder: Path,
    version: str,
    factor: float = 2.0,
    *,
    model: onnx.ModelProto | None = None,
    golden: float | None = None,
    expected: NDArray[np.float32] | None = None,
    metrics: Mapping[str, float] | None = None,
    evaluation: Evaluation | None = None,
    interface: Interface | None = None,
    precision: Precision = "fp32",
    rows: int = len(X),
    parent: str | None = None,
) -> Path:
    """Publish y = factor x as a version. `golden`: what its golden outputs say instead of `factor`; `rows` 0: none.

    `expected`: the golden outputs themselves.
    """
    source = folder.parent / "model.onnx"
    onnx.save(model or scale(factor), source)
    wanted = X[:rows] * np.float32(factor if golden is None else golden) if expected is None else expected
    return publish(
        folder,
        version,
        source,
        golden_inputs=[Tensor.from_array("x", X[:rows])] if rows else [],
        golden_outputs=[Tensor.from_array("y", wanted)] if rows else [],
        metrics=metrics,
        evaluation=evaluation,
        interface=interface,
        precision=precision,
        parent=parent,
    )


def tensors(*documents: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.model_validate(document) for document in documents)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def without_interface(folder: Path) -> Path:
    """As a version was published before manifests named the interface."""
    edit_manifest(folder, lambda document: document.pop("interface"))
    return folder


def spoil(folder: Path) -> None:
    """One bit of the artifact is not what was published."""
    path = folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
