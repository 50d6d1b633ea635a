"""Do two backends agree on a model? Compared tensor by tensor, with the tolerance of the precision.

|a - b| <= atol + rtol * |b|      b is the reference; strings, BF16 bits and shapes must be equal
top-1 agreement                   besides, of INT8 outputs that look like scores: [rows, classes]
"""

from collections.abc import Iterable

import numpy as np

from modelyard.spec import BackendSpec, Precision, ToleranceSpec
from modelyard.tensors import Array

TOLERANCES: dict[Precision, ToleranceSpec] = {
    "fp32": ToleranceSpec(rtol=1e-3, atol=1e-4),
    "fp16": ToleranceSpec(rtol=1e-2, atol=1e-2),
    "int8": ToleranceSpec(rtol=1e-1, atol=1e-1),
}
TOP_1 = 0.95
"""Least share of rows on which INT8 names the same class."""


def tolerance_of(backend: BackendSpec) -> ToleranceSpec:
    return backend.tolerance or TOLERANCES[backend.precision]


def agrees(array: Array, reference: Array, datatype: str, tolerance: ToleranceSpec) -> bool:
    """Are they the same within the tolerance? NaN equals NaN: the reference may hold it on purpose."""
    if reference.dtype == object or datatype == "BF16" or array.shape != reference.shape:
        return np.array_equal(array, reference)
    return bool(np.allclose(array, reference, tolerance.rtol, tolerance.atol, equal_nan=True))


def difference(outputs: Iterable[tuple[str, str, Array, Array]], backend: BackendSpec) -> str:
    """What speaks against an engine, of (name, datatype, its answer, the reference's); empty when nothing does.

    NaN never passes here: where an engine gives NaN, its number format was too small for the model.
    """
    tolerance = tolerance_of(backend)
    for name, datatype, array, reference in outputs:
        real = datatype in {"FP16", "FP32", "FP64"}
        if real and np.isnan(array).any():
            return f"output '{name}' holds NaN"
        if array.shape != reference.shape:
            return f"output '{name}' has shape {list(array.shape)}, ONNX Runtime gives {list(reference.shape)}"
        if not agrees(array, reference, datatype, tolerance):
            return f"output '{name}' differs from ONNX Runtime's{_by_how_much(array, reference) if real else ''}"
        if backend.precision == "int8" and real and array.ndim == 2 and array.shape[1] > 1:
            same = float(np.mean(array.argmax(axis=1) == reference.argmax(axis=1)))
            if same < TOP_1:
                return f"output '{name}' names the same class in {same:.0%} of the rows"
    return ""


def _by_how_much(array: Array, reference: Array) -> str:
    with np.errstate(all="ignore"):
        return f" by up to {np.nanmax(np.abs(array.astype(np.float64) - reference)):.3g}"
