"""Whether answers are right, cheaply enough to look at every one of them under load.

The rows of two requests differ in their first two values only (payloads.py). A model that is an affine map (echo and
the dials) is therefore known from three of its answers, and many answers are compared with one line of NumPy. The tiny
network is simply run. Of the encoders only known rows can be checked: their answers are computed before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from loadtests.bench.draw import scattered
from loadtests.bench.models import DIALS
from loadtests.bench.payloads import TOLERANCE, Array, reference, row

AFFINE = {"echo": 1e-6, **dict.fromkeys(DIALS, 2e-5)}  # how near an answer has to be: nearer than rows lie
DIGITS = 10_000


class Checker:
    """The client's own computation of a model."""

    def __init__(self, model: str, known: int = 0) -> None:
        """`known`: of a model that is neither an affine map nor tiny, how many rows are to be checked."""
        if model not in (*AFFINE, "mlp") and not known:
            raise ValueError(f"only known rows of {model} can be checked under load")
        self.tolerance = AFFINE.get(model, TOLERANCE)
        self._base = row(model, 0)
        self._reference = None if model in AFFINE else reference(model)
        if model in AFFINE:
            self._origin, self._slopes = _affine(model, self._base)
        self._known: dict[int, Array] = {}
        if self._reference is not None and model != "mlp":
            for number in map(scattered, range(known)):
                self._known[number] = self._reference.infer(row(model, number))[0]

    def expected(self, numbers: Sequence[int]) -> npt.NDArray[np.float64]:
        """What the model answers to the rows of these numbers; KeyError for one that is not known."""
        if self._known:
            return np.stack([self._known[number] for number in numbers])
        first_two = np.stack(np.divmod(np.asarray(numbers), DIGITS), axis=1) / DIGITS
        if self._reference is None:
            return np.asarray(self._origin + first_two @ self._slopes)
        values = np.repeat(self._base, len(numbers), axis=0)
        values[:, :2] = first_two
        return np.asarray(self._reference.infer(values), np.float64)

    def right(self, numbers: Sequence[int], answers: Sequence[Array]) -> list[bool]:
        """For each answer (shape [1, columns]) whether it is the one to its number."""
        expected = self.expected(numbers)
        shape = (1, expected.shape[1])
        shapes = [answer.shape == shape for answer in answers]
        if not all(shapes):
            answers = [answer if fits else np.full(shape, np.nan) for answer, fits in zip(answers, shapes, strict=True)]
        # no NaN is within any tolerance
        near = np.abs(np.concatenate(answers) - expected).max(axis=1) <= self.tolerance
        return [bool(one) for one in near]


def _affine(model: str, base: Array) -> tuple[Array, Array]:
    """Origin and the two slopes of a model that is an affine map of the first two values."""
    if model == "echo":  # its map is known without running anything
        slopes = np.zeros((2, base.shape[1]))
        slopes[0, 0] = slopes[1, 1] = 2.0
        return 2.0 * base[0].astype(np.float64) + 1.0, slopes
    corners = np.repeat(base, 3, axis=0)
    corners[:, :2] = [[0, 0], [1, 0], [0, 1]]
    origin, right, up = reference(model).infer(corners).astype(np.float64)
    return origin, np.stack([right - origin, up - origin])
