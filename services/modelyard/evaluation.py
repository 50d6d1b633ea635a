"""Held-out rows of a version, with the truth, kept beside its artifact: what `modelyard optimize` and `diff` judge by.

The file is NumPy's .npz without pickle: `input:<name>`, `calibration:<name>` and `truth`.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelyard.errors import ConfigurationError
from modelyard.tensors import Array

_INPUT, _CALIBRATION, _TRUTH = "input:", "calibration:", "truth"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Rows that training never saw, and some that it did, to find the ranges of an INT8 variant."""

    inputs: Mapping[str, Array]
    """[n, ...] by input name, all with the same n."""
    truth: Array | None = None
    """[n] labels; None where a row has no right answer but that of the full-precision model."""
    calibration: Mapping[str, Array] = field(default_factory=dict)
    """[m, ...] training rows by input name."""

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Raises ConfigurationError when the rows do not fit together."""
    _check(path, evaluation)
    arrays = {_INPUT + name: array for name, array in evaluation.inputs.items()}
    arrays |= {_CALIBRATION + name: array for name, array in evaluation.calibration.items()}
    if evaluation.truth is not None:
        arrays[_TRUTH] = evaluation.truth
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_evaluation(path: Path) -> Evaluation:
    """Raises ConfigurationError when the file holds no such rows."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays: dict[str, Array] = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"{path}: no evaluation file ({error})") from error
    evaluation = Evaluation(_named(arrays, _INPUT), arrays.get(_TRUTH), _named(arrays, _CALIBRATION))
    _check(path, evaluation)
    return evaluation


def _named(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _check(path: Path, evaluation: Evaluation) -> None:
    for what, arrays in (("inputs", evaluation.inputs), ("calibration", evaluation.calibration)):
        if any(array.ndim == 0 for array in arrays.values()) or len({len(array) for array in arrays.values()}) > 1:
            raise ConfigurationError(f"{path}: the {what} of an evaluation have different numbers of rows")
        if any(array.dtype.hasobject for array in arrays.values()):
            raise ConfigurationError(f"{path}: the {what} of an evaluation are numbers; BYTES cannot be kept")
    if not evaluation.inputs or not evaluation.rows:
        raise ConfigurationError(f"{path}: an evaluation needs rows")
    if evaluation.truth is not None and evaluation.truth.shape[:1] != (evaluation.rows,):
        raise ConfigurationError(f"{path}: {evaluation.rows} rows need as many true answers")
