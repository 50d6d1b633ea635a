"""A small model with golden and held-out rows, as `publish` leaves it; its file is none that could be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modelyard.evaluation import Evaluation
from modelyard.manifest import publish
from modelyard.tensors import Array, Tensor

SPEC = """
name: {name}
{service}
inputs: [{{name: x, datatype: FP32, shape: [-1, 3]}}]
outputs: [{{name: y, datatype: FP32, shape: [-1, 2]}}]
batching: {{max_batch_size: 8}}
quality: {{output: y, measure: top1}}
"""
ROWS = 12
GOLDEN = 4


def rows() -> Array:
    return np.arange(1, 3 * ROWS + 1, dtype=np.float32).reshape(ROWS, 3) / 7


def answers(inputs: Array) -> Array:
    """The first or the second, by whether the first number is even."""
    first = (np.round(inputs[:, 0] * 7) % 2).astype(np.float32)
    return np.stack([1 - first, first], axis=1)


def labels() -> Array:
    found: Array = answers(rows()).argmax(axis=1)
    return found


def make(repository: Path, name: str = "pair", version: str = "1", **more: Any) -> Path:
    """`more`: truth, evaluation (False: none), golden (False: none), service."""
    folder = repository / name
    folder.mkdir(parents=True, exist_ok=True)
    service = f"service: {more['service']}" if more.get("service") else ""
    (folder / "model.yaml").write_text(SPEC.format(name=name, service=service))
    artifact = repository / "model.onnx"
    artifact.write_bytes(b"none")
    inputs, golden = rows(), more.get("golden", True)
    publish(
        folder,
        version,
        artifact,
        golden_inputs=[Tensor.from_array("x", inputs[:GOLDEN])] if golden else [],
        golden_outputs=[Tensor.from_array("y", answers(inputs[:GOLDEN]))] if golden else [],
        metrics={"accuracy": 1.0},
        evaluation=Evaluation({"x": inputs}, more.get("truth", labels())) if more.get("evaluation", True) else None,
    )
    return folder
