"""Does a version answer its golden rows as when it was exported, however they are put together into runs?

A model whose answer to a row depends on its neighbours must not be batched: the runs of one, of seven and of all rows
are held to the same outputs.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from modelyard.backends.base import Backend, BackendUnavailable
from modelyard.backends.onnxruntime import OnnxRuntimeBackend
from modelyard.errors import ConfigurationError
from modelyard.lifecycle.compare import largest_difference
from modelyard.manifest import Manifest
from modelyard.parity import TOLERANCES, agrees, tolerance_of
from modelyard.repository import LoadedVersion
from modelyard.spec import BackendSpec, ModelSpec, ToleranceSpec
from modelyard.tensors import FLOATING, Array, Tensor

ROWS = (1, 7, 0)
"""Of a run; 0: all golden rows."""


def backends(spec: ModelSpec, loaded: LoadedVersion) -> Iterator[tuple[Backend, BackendSpec]]:
    """The one that is open; besides, what `spec` lists and ONNX Runtime has here. Engines are compared when built."""
    yield loaded.chain.active, loaded.spec.backends[0]
    for backend in spec.backends:
        if backend.name == "onnxruntime-cuda":
            try:
                extra = OnnxRuntimeBackend(loaded.artifact, loaded.spec, backend)
            except BackendUnavailable:
                continue
            yield extra, backend
            extra.close()


def tolerance_for(backend: BackendSpec, manifest: Manifest) -> ToleranceSpec:
    """That of the backend; for a variant in a smaller number format that of its format, if it is wider."""
    own, variant = tolerance_of(backend), TOLERANCES[manifest.precision]
    return max(own, variant, key=lambda tolerance: tolerance.atol + tolerance.rtol)


def worst_difference(
    loaded: LoadedVersion, backend: Backend, expected: Sequence[Tensor], tolerance: ToleranceSpec
) -> float:
    """The largest difference from the golden outputs. Raises ConfigurationError beyond the tolerance."""
    known = {tensor.name for tensor in loaded.spec.outputs}
    wanted = [tensor for tensor in expected if tensor.name in known]
    worst = 0.0
    for rows, start, answers in _runs(loaded, backend, [tensor.name for tensor in wanted]):
        for answer, tensor in zip(answers, wanted, strict=True):
            golden = tensor.array[start : start + rows] if rows else tensor.array
            if not agrees(answer, golden, tensor.datatype, tolerance):
                how = f"in runs of {rows} row{'s' * (rows != 1)}" if rows else "in one run"
                raise ConfigurationError(f"{backend.name}: output '{tensor.name}' differs from the golden one {how}")
            if tensor.datatype in FLOATING:
                worst = max(worst, largest_difference(answer.astype(np.float64), golden.astype(np.float64)))
    return worst


def _runs(loaded: LoadedVersion, backend: Backend, names: list[str]) -> Iterator[tuple[int, int, list[Array]]]:
    """(rows, first row, answers) of every run; rows is 0 for all at once."""
    total = len(loaded.inputs[0]) if loaded.spec.batched else 0
    for rows in ROWS if total else (0,):
        for start in range(0, total, rows) if rows else (0,):
            inputs = [array[start : start + rows] for array in loaded.inputs] if rows else loaded.inputs
            try:
                yield rows, start, backend.infer(inputs, names)
            except Exception as error:  # whatever a backend throws on rows that it should answer
                text = " ".join(str(error).split())[:300]
                raise ConfigurationError(f"{backend.name}: a run of golden rows fails: {text}") from None
