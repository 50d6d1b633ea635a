"""Run a model on a few rows: together, again, and one by one.

Whether a model may be batched cannot be read from its shapes: only when rows give the same answers together and alone
are batching and row-wise caching switched on.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelyard.backends.base import Backend, BackendUnavailable
from modelyard.backends.onnxruntime import OnnxRuntimeBackend
from modelyard.errors import ConfigurationError
from modelyard.importing.rows import given, made_up
from modelyard.spec import BackendSpec, ModelSpec
from modelyard.tensors import FLOATING, Array, Tensor

MAX_BATCH_SIZE = 32
_SEARCH_SECONDS = 10.0
"""No further made-up rows are tried after so long."""
_NO_MEMORY = re.compile(r"bad_alloc|allocat|out of memory", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Trial:
    """`inputs` and `outputs` are empty when it ran on none of the rows."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    batched: bool = False
    repeatable: bool = False
    findings: list[str] = field(default_factory=list)


def try_model(artifact: Path, spec: ModelSpec, rows: Path | None, foreign: Sequence[str]) -> Trial:
    """`rows`: an .npz file, None for made-up ones. `foreign`: domains of operators that few runtimes have.

    Raises ConfigurationError when the model cannot be served, MemoryError when it wants too much.
    """
    try:
        backend = OnnxRuntimeBackend(artifact, spec, BackendSpec(name="onnxruntime-cpu"))
    except BackendUnavailable as error:
        _raise_for_memory(error)
        also = f"; it has operators of {', '.join(foreign)}, which ONNX Runtime does not have" if foreign else ""
        text = str(error).replace(str(artifact), "the file")
        raise ConfigurationError(f"ONNX Runtime cannot load it: {text}{also}") from None
    names = [tensor.name for tensor in spec.outputs]
    found = _first_that_runs(backend, spec, names, rows)
    if isinstance(found, str):
        if rows is not None:
            raise ConfigurationError(f"it does not run on the rows of {rows}: {found}")
        text = f"the trial run on made-up input failed ({found}); batching is off, nothing is warmed up"
        return Trial(findings=[text])
    inputs, together = found
    repeatable = _agree(together, backend.infer(inputs, names))
    batched, why = _rows_independent(backend, spec, inputs, together)
    shapes = ", ".join(f"{t.name} {list(a.shape)}" for t, a in zip(spec.inputs, inputs, strict=True))
    findings = [f"it runs on {'given' if rows else 'made-up'} rows: {shapes}", why]
    if not repeatable:
        findings.append("two runs on the same input differ: the cache is off")
    if _has_nan(spec, together):
        findings.append("its answers to the rows that were given hold NaN, which JSON cannot carry")
    golden = [Tensor(t.name, t.datatype, a) for t, a in zip(spec.inputs, inputs, strict=True)]
    results = [Tensor(t.name, t.datatype, a) for t, a in zip(spec.outputs, together, strict=True)]
    return Trial(golden, results if repeatable else [], batched, repeatable, findings)


def _first_that_runs(
    backend: Backend, spec: ModelSpec, names: Sequence[str], rows: Path | None
) -> tuple[list[Array], list[Array]] | str:
    """The first rows with an answer that holds no NaN, or the first reason why there are none."""
    why, nan = "", False
    for inputs in _candidates(spec, rows):
        try:
            outputs = backend.infer(inputs, names)
        except Exception as error:
            _raise_for_memory(error)
            why = why or f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error) else ''}"
            continue
        if rows is not None or not _has_nan(spec, outputs):
            return inputs, outputs
        nan = True
    if nan:
        raise ConfigurationError(
            "its answers hold NaN for all the made-up rows that were tried (normal, positive, zero): is it trained? "
            "--rows FILE.npz gives it real ones"
        )
    return why


def _candidates(spec: ModelSpec, rows: Path | None) -> Iterator[list[Array]]:
    if rows is not None:
        yield given(rows, spec)
        return
    end = time.monotonic() + _SEARCH_SECONDS
    for _, inputs in made_up(spec):
        yield inputs
        if time.monotonic() > end:
            return


def _raise_for_memory(error: Exception) -> None:
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        raise MemoryError from None


def _has_nan(spec: ModelSpec, outputs: Sequence[Array]) -> bool:
    return any(
        tensor.datatype in FLOATING and bool(np.isnan(array).any())
        for tensor, array in zip(spec.outputs, outputs, strict=True)
    )


def _rows_independent(
    backend: Backend, spec: ModelSpec, inputs: Sequence[Array], together: Sequence[Array]
) -> tuple[bool, str]:
    shapes = [tensor.shape for tensor in (*spec.inputs, *spec.outputs)]
    if not all(shape and shape[0] == -1 for shape in shapes):
        return False, "not every input and output has a free first dimension: batching is off"
    rows = len(inputs[0])
    if any(array.shape[:1] != (rows,) for array in together):
        return False, "the outputs do not keep the number of rows: batching is off"
    names = [tensor.name for tensor in spec.outputs]
    for row in range(rows):
        try:
            alone = backend.infer([array[row : row + 1] for array in inputs], names)
        except Exception:
            return False, "it does not run on a single row: batching is off"
        if not _agree([array[row : row + 1] for array in together], alone):
            return False, "a row's answer depends on the other rows: batching is off"
    return True, f"rows are independent: batches of up to {MAX_BATCH_SIZE}"


def _agree(some: Sequence[Array], others: Sequence[Array]) -> bool:
    for one, other in zip(some, others, strict=True):
        inexact = np.issubdtype(one.dtype, np.floating)
        same_shape = one.shape == other.shape
        if not same_shape or not (
            np.allclose(one, other, 1e-3, 1e-5, equal_nan=True) if inexact else np.array_equal(one, other)
        ):
            return False
    return True
