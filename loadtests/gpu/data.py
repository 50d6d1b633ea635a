"""Inputs of a model, and what the right answers are: those of ONNX Runtime in float32 on the CPU.

Rows are drawn at random, so that no two are alike: an answer in the place of another is found out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.bench.models import INFO, SEED
from loadtests.bench.payloads import Array, reference
from loadtests.gpu.subject import FOLDER
from modelyard.parity import TOLERANCES, agrees
from modelyard.spec import Precision

NO_ANSWER = float(np.finfo(np.float32).max)  # of another shape, or no number: JSON knows no infinity


@dataclass(frozen=True)
class Difference:
    """How far answers are from the right ones. `relative`: the largest error to the largest right value."""

    largest: float
    relative: float
    right: bool


def prepare(model: str, rows: int) -> Path:
    """Write `rows` inputs and their right answers into a file of which processes read what they need."""
    info, random = INFO[model], np.random.default_rng(SEED + 3)
    shape = (rows, info.columns)
    if info.datatype == "INT64":
        inputs: Array = random.integers(0, 30_000, shape)
    else:  # rows of different strength and height: of plain noise a convolutional network sees only that it is noise
        strength, height = random.uniform(0.2, 1.0, (rows, 1)), random.uniform(-1.0, 1.0, (rows, 1))
        inputs = (random.standard_normal(shape) * strength + height).astype(np.float32)
    expected = np.concatenate([reference(model).infer(inputs[row : row + 1]) for row in range(rows)])
    path = FOLDER / f"{model}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, inputs=inputs, expected=expected)
    return path


def read(path: Path) -> tuple[Array, Array]:
    """Inputs and right answers."""
    with np.load(path) as arrays:
        return arrays["inputs"], arrays["expected"]


def difference(answer: Array, expected: Array, precision: Precision) -> Difference:
    """Compared with the tolerance that an engine of this precision has to keep to be served."""
    if answer.shape != expected.shape or not np.isfinite(answer).all():
        return Difference(NO_ANSWER, NO_ANSWER, right=False)
    largest = float(np.abs(answer.astype(np.float64) - expected).max())
    right = agrees(answer, expected, "FP32", TOLERANCES[precision])
    return Difference(largest, largest / float(np.abs(expected).max()), right)
