"""Does an exported file answer as the model that it was made of? Asked before a version is published."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from modelyard.backends.onnxruntime import open_session
from modelyard.errors import ConfigurationError
from modelyard.tensors import Array

ALL = 0


class ParityError(ConfigurationError):
    """The exported file answers differently from the model that it was made of."""


def check_parity(
    artifact: Path,
    inputs: Mapping[str, Array],
    expected: Mapping[str, Array],
    *,
    tolerance: float,
    batches: Sequence[int] = (1, 7, ALL),
) -> float:
    """The largest difference |answer - expected| over all rows, run in batches of several sizes (0: all at once).

    Raises ParityError above `tolerance`, for NaN, and for integers that differ at all.
    """
    session = open_session(artifact)
    names, rows = list(expected), len(next(iter(inputs.values())))
    worst = 0.0
    for size in (size or rows for size in batches):
        for start in range(0, rows, size):
            part = slice(start, start + size)
            answers = session.run(names, {name: array[part] for name, array in inputs.items()})
            for name, answer in zip(names, answers, strict=True):
                worst = max(worst, _difference(name, answer, expected[name][part]))
    if not worst <= tolerance:
        raise ParityError(f"the exported file differs by {worst:.2g} from the model, {tolerance:.0e} is allowed")
    return worst


def _difference(name: str, answer: Array, expected: Array) -> float:
    if answer.shape != expected.shape:
        raise ParityError(f"output '{name}' has shape {list(answer.shape)}, the model gives {list(expected.shape)}")
    if not np.issubdtype(expected.dtype, np.floating):
        return 0.0 if np.array_equal(answer, expected) else float("inf")
    difference = np.abs(answer.astype(np.float64) - expected)
    return float("inf") if np.isnan(difference).any() else float(difference.max(initial=0.0))
