"""The reference of a version, made when it is published, from the rows that it was evaluated by.

Evaluation -> Rows      features: training and held-out rows, all that there are
                        answers: of the held-out rows alone, for on rows that it has learnt a model is too sure
Rows -> Reference
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.drift import bins
from modelyard.drift.extract import InputColumns
from modelyard.drift.features import Feature, plan, row_shape
from modelyard.drift.psi import shares
from modelyard.drift.reference import (
    MOST_CLASSES,
    BinnedFeature,
    Kind,
    Prediction,
    Reference,
    answers_of,
    confidence_counts,
)
from modelyard.drift_spec import elements_of
from modelyard.evaluation import Evaluation
from modelyard.spec import BackendSpec, ModelSpec, TensorSpec
from modelyard.tensors import DTYPES, FLOATING, Array

log = logging.getLogger("modelyard.drift")

LEAST_ROWS = 20
"""Below that no share means anything."""
MOST_ROWS = 4096
"""That the model is run on: a second more or less of an export, not minutes."""
RUN_ROWS = 32


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as callers send them, and what the model answers."""

    inputs: Mapping[str, Array]
    """[n, ...] by input name."""
    outputs: Mapping[str, Array] = field(default_factory=dict)
    """[m, ...] by output name; of rows that the model has not learnt, if they can be had."""


def reference_of(spec: ModelSpec, artifact: Path, evaluation: Evaluation | None, rows: Rows | None) -> Reference | None:
    """None where there is nothing to make it of; the log says why, for publishing goes on."""
    if not spec.drift.enabled or not (evaluation or rows):
        return None
    if not spec.batched:
        log.warning("%s: no reference for drift: it has no batch dimension, so no rows", spec.name)
        return None
    try:
        return _made(spec, rows or _rows_of(spec, artifact, evaluation))
    except Exception as error:
        log.warning("%s: no reference for drift: %s", spec.name, " ".join(str(error).split())[:300])
        return None


def prediction_of(spec: ModelSpec) -> tuple[TensorSpec, Kind] | None:
    """The output that says what the model thinks, and how; None where no output does.

    That of `drift.prediction`; else that of `quality` where it is judged by its first class; else one that is called
    probabilities; else the only output, where it is one number per row. Raises ValueError for one that is none of it.
    """
    outputs = {tensor.name: tensor for tensor in spec.outputs}
    judged = spec.quality.output if spec.quality and spec.quality.measure == "top1" else ""
    only = spec.outputs[0].name if len(spec.outputs) == 1 else ""
    wanted = spec.drift.prediction or judged or ("probabilities" if "probabilities" in outputs else "")
    tensor = outputs.get(wanted or only)
    kind = _kind(spec, tensor) if tensor else None
    if tensor is None or kind is None or not (wanted or kind != "probabilities"):
        if spec.drift.prediction:
            raise ValueError(f"drift: prediction: '{wanted}' holds neither probabilities nor one number per row")
        return None
    return tensor, kind


def _kind(spec: ModelSpec, tensor: TensorSpec) -> Kind | None:
    elements = elements_of(row_shape(spec, tensor))
    if elements is None or tensor.datatype in ("BYTES", "BF16"):
        return None
    if tensor.datatype in FLOATING:
        return "probabilities" if elements > 1 else "value"
    return "label" if elements == 1 else None


def _rows_of(spec: ModelSpec, artifact: Path, evaluation: Evaluation | None) -> Rows:
    if evaluation is None:
        raise ValueError("there are no rows")
    names = [tensor.name for tensor in spec.inputs]
    for name in names:
        if name not in evaluation.inputs:
            raise ValueError(f"the evaluation lacks the input '{name}'")
    parts = [evaluation.inputs] + ([evaluation.calibration] if evaluation.calibration else [])
    outputs = _answers(spec, artifact, evaluation) if prediction_of(spec) else {}
    if any(len({part[name].shape[1:] for part in parts}) > 1 for name in names):
        parts = parts[-1:]
    return Rows({name: np.concatenate([part[name] for part in parts]) for name in names}, outputs)


def _answers(spec: ModelSpec, artifact: Path, evaluation: Evaluation) -> dict[str, Array]:
    """What the artifact says of the held-out rows; nothing where it cannot be run here."""
    from modelyard.backends.onnxruntime import OnnxRuntimeBackend  # noqa: PLC0415  (commands start without it)

    found = prediction_of(spec)
    if found is None:
        return {}
    output = found[0].name
    inputs = [evaluation.inputs[tensor.name][:MOST_ROWS] for tensor in spec.inputs]
    size = min(RUN_ROWS, spec.batching.max_batch_size)
    try:
        backend = OnnxRuntimeBackend(artifact, spec, BackendSpec(name="onnxruntime-cpu"))
        parts = [
            backend.infer([array[start : start + size] for array in inputs], [output])[0]
            for start in range(0, len(inputs[0]), size)
        ]
    except Exception as error:
        log.warning("%s: the reference is without answers: %s", spec.name, " ".join(str(error).split())[:300])
        return {}
    return {output: np.concatenate(parts)}


def _made(spec: ModelSpec, rows: Rows) -> Reference:
    count = min(len(array) for array in rows.inputs.values())
    if count < LEAST_ROWS:
        raise ValueError(f"it takes {LEAST_ROWS} rows, there are {count}")
    features = [
        feature
        for tensor in spec.inputs
        for feature in _binned(spec, tensor, [f for f in plan(spec) if f.input == tensor.name], rows)
    ]
    return Reference(rows=count, features=tuple(features), prediction=_prediction(spec, rows))


def _binned(spec: ModelSpec, tensor: TensorSpec, features: list[Feature], rows: Rows) -> list[BinnedFeature]:
    if not features:
        return []
    array = rows.inputs[tensor.name]
    if array.dtype != DTYPES[tensor.datatype] or array.ndim != len(tensor.shape):
        raise ValueError(f"the rows of '{tensor.name}' are {array.dtype} {list(array.shape)}")
    watched = InputColumns(tensor.datatype, row_shape(spec, tensor), features)
    columns = watched.columns([watched.take(array[start : start + 512]) for start in range(0, len(array), 512)])
    made = []
    for feature, column in zip(features, columns.T, strict=True):
        try:
            edges = bins.edges_of(column)
        except ValueError as error:
            log.warning("%s: '%s' is not watched: %s", spec.name, feature.name, error)
            continue
        ratios = shares(bins.counts_of(column[:, None], [np.array(edges)])[0])
        made.append(BinnedFeature(**feature.model_dump(), edges=tuple(edges), ratios=tuple(ratios.tolist())))
    return made


def _prediction(spec: ModelSpec, rows: Rows) -> Prediction | None:
    found = prediction_of(spec)
    if found is None or found[0].name not in rows.outputs:
        return None
    (tensor, kind), array = found, rows.outputs[found[0].name]
    answers, confidence = answers_of(kind, array)
    if kind == "value":
        blank: dict[str, Any] = {"edges": tuple(bins.edges_of(answers))}
    else:
        classes, counts = np.unique(answers, return_counts=True)
        if kind == "probabilities" and array[0].size <= MOST_CLASSES:
            classes, counts = np.arange(array[0].size), np.ones(array[0].size)
        most = np.sort(classes[np.argsort(-counts, kind="stable")[:MOST_CLASSES]])
        blank = {"classes": tuple(most.tolist())}
    about: dict[str, Any] = {"output": tensor.name, "kind": kind, "rows": len(answers), **blank}
    ratios = shares(Prediction.model_construct(**about, ratios=()).counts_of(answers))
    sure = None
    if confidence is not None and array.min() >= 0 and array.max() <= 1 + 1e-3:
        sure = tuple(shares(confidence_counts(confidence)).tolist())
    return Prediction.model_validate({**about, "ratios": tuple(ratios.tolist()), "confidence": sure})
