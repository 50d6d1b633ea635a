"""A fitted scikit-learn estimator becomes an ONNX file with outputs that a caller can read, and is compared with it.

What skl2onnx leaves undone is done here: probabilities as a matrix (zipmap off), tree attributes that protobuf takes, a
locale that every machine has.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.authoring.columns import Columns
from modelyard.backends.base import BackendUnavailable
from modelyard.backends.onnxruntime import open_session
from modelyard.errors import ConfigurationError
from modelyard.tensors import Array

_AGREEING = 0.95
"""Least share of made-up rows on which both must agree: float32 at the edge of a tree's split may go the other way."""
_TOLERANCE = 1e-3
_LOCALE = b"C.UTF-8"
"""Without a name ONNX Runtime asks for en_US.UTF-8, which containers lack."""
_STRING = 3
"""onnx.AttributeProto.STRING"""
_OLDER = {"": 17, "ai.onnx.ml": 3}
"""Operator sets for which skl2onnx has converters that it lacks for the newest."""


def convert_estimator(estimator: Any, columns: Columns, artifact: Path) -> None:
    """Write `artifact`. Raises ConfigurationError."""
    try:
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType  # noqa: PLC0415  (an extra)
    except ImportError:
        raise ConfigurationError("skl2onnx is not installed: pip install 'modelyard[train]'") from None
    types = [
        (name, (StringTensorType if rows.dtype.kind == "U" else FloatTensorType)([None, rows.shape[1]]))
        for name, rows in columns.inputs.items()
    ]
    _write_truth_as_numbers()
    model = _first_that_works(estimator, types)
    _rename(model.graph, _names(estimator, len(model.graph.output)))
    for node in model.graph.node:
        if node.op_type == "StringNormalizer" and not any(each.name == "locale" for each in node.attribute):
            node.attribute.add(name="locale", s=_LOCALE, type=_STRING)
    artifact.write_bytes(model.SerializeToString())


def compare(estimator: Any, columns: Columns, artifact: Path) -> str:
    """How close the ONNX file comes on made-up rows. Raises ConfigurationError when it is another model."""
    try:
        session = open_session(artifact)
    except BackendUnavailable as error:
        raise ConfigurationError(f"ONNX Runtime cannot load the converted file: {error}") from None
    if not hasattr(estimator, "predict"):
        return "it has no predict: its ONNX file was not compared with it"
    try:
        expected = np.asarray(estimator.predict(columns.frame()))
    except ValueError as error:
        text = str(error).strip().splitlines()[0][:200]
        raise ConfigurationError(
            f"the estimator refuses the rows ({text}): --rows FILE.npz gives it real ones"
        ) from None
    answers = session.run(None, {name: _for_session(rows) for name, rows in columns.inputs.items()})
    found = np.asarray(answers[0]).reshape(expected.shape)
    if np.issubdtype(expected.dtype, np.floating) and np.issubdtype(found.dtype, np.floating):
        same = np.isclose(found, expected, _TOLERANCE, _TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0))))
    else:
        same = found.astype(str) == expected.astype(str)
    share, rows = float(np.mean(same)), len(expected)
    if share < _AGREEING:
        raise ConfigurationError(
            f"the ONNX file agrees with the estimator on {share:.0%} of {rows} rows only: it is not "
            "brought (--rows FILE.npz compares on real ones)"
        )
    worst = ""
    proba = estimator.predict_proba(columns.frame()) if hasattr(estimator, "predict_proba") else None
    if isinstance(proba, np.ndarray) and len(answers) == 2 and np.shape(answers[1]) == proba.shape:
        difference = np.abs(answers[1] - proba)
        worst = f", probabilities within {float(np.median(difference.max(axis=-1))):.1e} in the median row"
    return f"the ONNX file and scikit-learn agree on {share:.0%} of {rows} rows{worst}"


def _first_that_works(estimator: Any, types: list[tuple[str, Any]]) -> Any:
    from skl2onnx import convert_sklearn  # noqa: PLC0415  (an extra)

    why = ""
    for options, opset in _attempts(estimator):
        try:
            return convert_sklearn(estimator, "model", types, options=options, target_opset=opset)
        except MemoryError:
            raise
        except Exception as error:  # it raises whatever its converters raise
            text = str(error).strip().splitlines()[0] if str(error).strip() else ""
            why = why or f"{type(error).__name__}: {text}"
    raise ConfigurationError(f"skl2onnx cannot convert it: {why}")


def _attempts(estimator: Any) -> Iterator[tuple[dict[int, Any] | None, dict[str, int] | None]]:
    """Options and operator sets. An estimator without a zipmap refuses the option."""
    from sklearn.base import is_classifier  # noqa: PLC0415  (an extra)

    every = [{id(estimator): {"zipmap": False}}] if is_classifier(estimator) else [None]
    for opset in (None, _OLDER):
        for options in every:
            yield options, opset
        if every != [None]:
            yield None, opset


def _write_truth_as_numbers() -> None:
    """skl2onnx 1.20 puts booleans among the integers of histogram gradient boosting; protobuf 7 refuses them."""
    from skl2onnx.common import _container  # noqa: PLC0415  (an extra)

    make_node = _container.make_node

    def make(*arguments: Any, **attributes: Any) -> Any:
        return make_node(*arguments, **{name: _numbers(value) for name, value in attributes.items()})

    _container.make_node = make


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [int(each) if isinstance(each, bool | np.bool_) else each for each in value]
    return value


def _names(estimator: Any, outputs: int) -> list[str]:
    """What callers read, in place of skl2onnx's own names."""
    if outputs == 1:
        return ["prediction" if hasattr(estimator, "predict") else "output"]
    if outputs == 2 and hasattr(estimator, "predict"):
        return ["label", "probabilities" if hasattr(estimator, "predict_proba") else "scores"]
    return []


def _rename(graph: Any, names: list[str]) -> None:
    changes = {output.name: name for output, name in zip(graph.output, names, strict=False)}
    taken = {name for node in graph.node for name in (*node.input, *node.output)} - set(changes)
    if taken.intersection(names):
        return
    for output in graph.output:
        output.name = changes.get(output.name, output.name)
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [changes.get(name, name) for name in side]


def _for_session(rows: Array) -> Array:
    return rows.astype(np.object_) if rows.dtype.kind == "U" else rows
