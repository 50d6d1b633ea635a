"""How good are answers on rows whose truth is known, and how far do two versions agree? Pure: arrays in, numbers out.

    measure        quality: against the truth                          agreement: with the parent
    top1           share of rows whose first answer is the truth       share of rows with the same first answer
    recall_at_10   share of rows whose truth is among the first ten    mean share of the first ten in common
    cosine         none: the parent is the truth                       mean cosine of the two vectors

The first answers are the classes with the highest scores of an output [rows, classes], of equal scores the first. An
output of whole numbers names them itself: labels [rows], or classes [rows, n] with the best in front. Vectors are
[rows, ...]. A row that holds NaN or Infinity is never right and agrees with nothing: a number format that was too small
must not pass for a good one.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from modelyard.errors import ConfigurationError
from modelyard.tensors import Array

Measure = Literal["top1", "recall_at_10", "cosine"]
_COUNTS: dict[Measure, int] = {"top1": 1, "recall_at_10": 10}


def check_fits(measure: Measure, output: Array, truth: Array | None) -> None:
    """Raises ConfigurationError when this output cannot be measured so."""
    whole, real = (np.issubdtype(output.dtype, kind) for kind in (np.integer, np.floating))
    if not real and not (whole and measure != "cosine"):
        raise ConfigurationError(f"the measure {measure} does not fit an output of {output.dtype}")
    if measure == "cosine":
        return
    ranks = (1, 2) if whole and measure == "top1" else (2,)
    if output.ndim not in ranks or (real and output.shape[1] < 2):
        raise ConfigurationError(
            f"the measure {measure} needs scores of shape [rows, classes], the output has {list(output.shape)}"
        )
    if truth is None:
        raise ConfigurationError(f"the measure {measure} needs the truth of every row, the evaluation has none")
    if truth.shape != (len(output),) or not np.issubdtype(truth.dtype, np.integer):
        raise ConfigurationError(
            f"the measure {measure} needs one class for a row, the truth is {truth.dtype} {list(truth.shape)}"
        )


def quality(measure: Measure, output: Array, truth: Array | None) -> float | None:
    """0 to 1; None where the measure knows no truth but the parent's answer."""
    if measure == "cosine" or truth is None:
        return None
    first = _first(output, _COUNTS[measure])
    return float(np.mean((first == truth[:, None]).any(axis=1) & _finite(output)))


def agreement(measure: Measure, output: Array, parent: Array) -> float:
    """0 (cosine: -1) to 1, the mean over the rows."""
    return float(np.mean(row_agreement(measure, output, parent)))


def row_agreement(measure: Measure, output: Array, parent: Array) -> NDArray[np.float64]:
    """[rows]: how far each row agrees."""
    if measure == "cosine":
        return cosine(output, parent)
    ours, theirs = (_first(each, _COUNTS[measure]) for each in (output, parent))
    common = (ours[:, :, None] == theirs[:, None, :]).any(axis=2).mean(axis=1)
    return np.where(_finite(output) & _finite(parent), common, 0.0)


def cosine(some: Array, others: Array) -> NDArray[np.float64]:
    """[rows]: the cosine of the angle between two vectors; two zero vectors agree, one alone does not."""
    ours, theirs = (array.reshape(len(array), -1).astype(np.float64) for array in (some, others))
    sound = _finite(ours) & _finite(theirs)
    ours, theirs = (_unit(np.where(sound[:, None], array, 0.0)) for array in (ours, theirs))
    both_zero = ~ours.any(axis=1) & ~theirs.any(axis=1)
    cosines = np.clip((ours * theirs).sum(axis=1), -1.0, 1.0)
    return np.where(sound, np.where(both_zero, 1.0, cosines), 0.0)


def _unit(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of length 1, zero rows as they are. Scaled first: squares of large numbers overflow."""
    largest = np.abs(array).max(axis=1, initial=0.0, keepdims=True)
    scaled = np.divide(array, largest, out=np.zeros_like(array), where=largest > 0)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(scaled, length, out=np.zeros_like(scaled), where=length > 0)
    return unit


def _first(output: Array, count: int) -> Array:
    """[rows, count] classes, the best in front; or fewer where there are fewer."""
    if np.issubdtype(output.dtype, np.integer):
        return output.reshape(len(output), -1)[:, :count]
    if count == 1:
        return np.asarray(output.argmax(axis=1))[:, None]
    return np.argsort(-output, axis=1, kind="stable")[:, :count]


def _finite(array: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(array).reshape(len(array), -1).all(axis=1))
