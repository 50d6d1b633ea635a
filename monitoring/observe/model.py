"""The model that is driven: who gets a loan, by four numbers, after as much work as the request asks for.

A made-up classifier over real machinery: its ONNX file runs in ONNX Runtime, its reference for drift is made of its
rows as at every export. The input `effort` is how many milliseconds a run takes; below zero the run fails.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from modelyard.evaluation import Evaluation
from modelyard.manifest import publish
from tests.integration.harness import import_model
from tests.integration.onnx_models import build, busy_loop, turns_per_millisecond, value

NAME = "loan"
FEATURES = ("income", "debt", "age", "requests")
MIDDLE, SPREAD = (3.0, 1.0, 40.0, 2.0), (1.0, 0.5, 12.0, 1.0)
CLASSES = 3
LATENCY_SECONDS = 0.1
MAX_BATCH = 8
REFERENCE_ROWS = 3000

Rows = dict[str, NDArray[np.float32]]


def repository(folder: Path) -> Path:
    """A repository with version 1."""
    import_model(folder, NAME, _graph(seed=1), version="0", edit=_edit)
    publish_version(folder, 1)
    shutil.rmtree(folder / NAME / "versions" / "0")  # it only gave the interface
    return folder


def publish_version(folder: Path, version: int) -> None:
    """Another version, with other weights."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "model.onnx"
        onnx.save(_graph(seed=version), source)
        publish(folder / NAME, str(version), source, evaluation=Evaluation(dict(usual(REFERENCE_ROWS, seed=version))))


def usual(count: int, seed: int) -> Rows:
    """Rows as they came in training: the reference of drift."""
    draw = np.random.default_rng(seed)
    features = draw.normal(MIDDLE, SPREAD, (count, len(FEATURES))).astype(np.float32)
    return {"features": features, "effort": np.zeros((count, 1), np.float32)}


def shifted(count: int, seed: int) -> Rows:
    """Rows of another world: half the income, twice the debt."""
    rows = usual(count, seed)
    rows["features"] *= np.array([0.5, 2, 1, 1], np.float32)
    return rows


def with_effort(rows: Rows, milliseconds: float) -> Rows:
    """The same rows, each at this price."""
    return rows | {"effort": np.full_like(rows["effort"], milliseconds)}


def _edit(spec: dict[str, Any]) -> None:
    spec["description"] = "who gets a loan"
    spec["backends"] = [{"name": "onnxruntime-cpu"}]
    spec["batching"]["max_batch_size"] = MAX_BATCH
    spec["limits"] = {"queue_seconds": 0.3, "deadline_seconds": 10.0}
    spec["objectives"] = {"availability": 0.99, "latency": 0.95, "latency_seconds": LATENCY_SECONDS}
    spec["drift"] = {
        "inputs": ["features"],
        "names": {"features": list(FEATURES)},
        "ranges": {"age": [0, 120], "income": [0, 100]},
        "prediction": "probabilities",
    }


def _graph(seed: int) -> onnx.ModelProto:
    """features [-1, 4] and effort [-1, 1] -> probabilities [-1, 3]."""
    nodes = [
        helper.make_node("ReduceMax", ["effort"], ["most"], keepdims=0),
        helper.make_node("Clip", ["most", "zero", "longest"], ["work"]),
        helper.make_node("Mul", ["work", "turns_per_ms"], ["turns_float"]),
        helper.make_node("Cast", ["turns_float"], ["turns"], to=TensorProto.INT64),
        busy_loop("turns"),
        helper.make_node("ReduceSum", ["busy_end"], ["nothing"], keepdims=0),
        helper.make_node("ReduceMin", ["effort"], ["least"], keepdims=0),
        helper.make_node("Min", ["least", "zero"], ["wrong"]),
        helper.make_node("Cast", ["wrong"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["only_zero", "place"], ["or_fail"], axis=0),
        helper.make_node("Sub", ["features", "middle"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weight"], ["product"]),
        helper.make_node("Add", ["product", "nothing"], ["busy_product"]),
        helper.make_node("Add", ["busy_product", "or_fail"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weight = np.random.default_rng(seed).normal(0, 2, (len(FEATURES), CLASSES)) / np.array(SPREAD)[:, None]
    constants = {
        "zero": np.array(0, np.float32),
        "longest": np.array(10_000, np.float32),
        "turns_per_ms": np.array(turns_per_millisecond(), np.float32),
        "busy_start": np.zeros((32, 32), np.float32),
        "busy_weight": np.full((32, 32), 0.01, np.float32),
        "only_zero": np.zeros(1, np.float32),
        "middle": np.array(MIDDLE, np.float32),
        "weight": weight.astype(np.float32),
    }
    inputs = [value("features", "FP32", (-1, len(FEATURES))), value("effort", "FP32", (-1, 1))]
    return build(nodes, inputs, [value("probabilities", "FP32", (-1, CLASSES))], constants)
