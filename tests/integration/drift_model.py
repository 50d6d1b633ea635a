"""A small model with a reference for drift: three features, three classes.

Rows of the reference are normal (0, 1) in every column; the answer is the softmax of the row, its class the largest
column. `rows` draws more of the same, `shift` adds to the first column.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from modelyard.drift.psi import psi
from modelyard.drift.reference import BinnedFeature, Reference, read_reference
from modelyard.evaluation import Evaluation
from modelyard.manifest import publish

NAME = "shifting"
YAML = f"""\
name: {NAME}
inputs: [{{name: x, datatype: FP32, shape: [-1, 3]}}]
outputs: [{{name: probabilities, datatype: FP32, shape: [-1, 3]}}]
backends: [{{name: onnxruntime-cpu}}]
batching: {{max_batch_size: 4096}}
quality: {{output: probabilities, measure: top1}}
drift: {{names: {{x: [first, second, third]}}, ranges: {{first: [-3, 3]}}}}
"""
REFERENCE_ROWS = 20_000

Rows = NDArray[np.float32]


def rows(count: int, seed: int, shift: float = 0.0) -> Rows:
    """[count, 3]."""
    drawn = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    drawn[:, 0] += np.float32(shift)
    return drawn


def make(repository: Path, more: str = "") -> Path:
    """The model in `repository`, with `more` in its model.yaml; returns the folder of version 1."""
    folder = repository / NAME
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(YAML + more)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "probabilities")]
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["probabilities"])], "g", info[:1], info[1:])
    artifact = repository / "softmax.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), artifact)
    held_out, training = rows(2000, seed=1), rows(REFERENCE_ROWS - 2000, seed=2)
    truth = held_out.argmax(axis=1)
    return publish(folder, "1", artifact, evaluation=Evaluation({"x": held_out}, truth, {"x": training}))


def reference(version: Path) -> Reference:
    """What was written when the version was published."""
    return read_reference(version / "reference.json")


def by_hand(feature: BinnedFeature, column: Rows) -> tuple[list[int], float]:
    """Counts by bin, the missing last, and the index, each value looked at by itself."""
    counts = [0] * len(feature.ratios)
    for value in column.tolist():
        counts[-1 if value != value else sum(value >= edge for edge in feature.edges)] += 1  # noqa: PLR0124  (NaN)
    return counts, psi(feature.ratios, counts)
