"""Is an answer right? Each one is looked at, by what is known of its row before any server was asked.

    every answer    the outputs that the model has, each in its shape, without NaN; the id that was sent; the version
    golden rows     the outputs that the version was published with, within the tolerance of the precision
    other rows      the same answer each time, whichever protocol carried it: a mixed-up answer is another row's
    rows with truth the first answer (or one of the first ten) is counted: the share of right ones is a threshold

A single answer that misses the truth is no fault: no model is right on every row. All others are WrongAnswer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from loadtests.load.rows import Known, Row
from loadtests.load.wire import Answer, WrongAnswer
from modelyard.optimizing.quality import quality
from modelyard.parity import TOLERANCES, agrees, tolerance_of
from modelyard.spec import ToleranceSpec
from modelyard.tensors import Array

ANY = "any"


class Checker:
    """Remembers the first answer to each row; one for a process."""

    def __init__(self, known: Known, version: str = "") -> None:
        """`version`: 'any' lets every version answer, as while another is promoted."""
        self._known = known
        self._any = version == ANY
        self._tolerance = widest(known)
        self._outputs = {tensor.name: tensor for tensor in known.spec.outputs}
        self._first: dict[tuple[int, str, str], Array] = {}

    def check(self, number: int, row: Row, answer: Answer, *, changed: bool) -> None:
        """Raises WrongAnswer. `number` is the row's; `changed`: its last bits were, so that it may answer otherwise."""
        own = answer.version == self._known.version
        if not own and not self._any:
            raise WrongAnswer(f"version {answer.version} answered, the rows are of version {self._known.version}")
        self._check_shapes(answer)
        if changed:
            return
        if row.golden and own:
            self._check_golden(row.golden, answer)
        elif not row.text:
            self._check_same(number, answer)

    def right(self, row: Row, answer: Answer) -> bool | None:
        """Whether the answer is the truth; None where it is not known, or the answer does not hold it."""
        measure = self._known.spec.quality
        if row.truth is None or measure is None or measure.output not in answer.outputs:
            return None
        share = quality(measure.measure, answer.outputs[measure.output], np.array([row.truth]))
        return None if share is None else share == 1.0

    def _check_shapes(self, answer: Answer) -> None:
        if not answer.outputs:
            raise WrongAnswer("an answer without outputs")
        for name, array in answer.outputs.items():
            tensor = self._outputs.get(name)
            if tensor is None:
                raise WrongAnswer(f"an output '{name}' that the model has not")
            wanted = (1, *tensor.shape[1:]) if self._known.spec.batched else tensor.shape
            if array.ndim != len(wanted) or any(w not in (-1, d) for d, w in zip(array.shape, wanted, strict=True)):
                raise WrongAnswer(f"output '{name}' has shape {list(array.shape)}, not {list(wanted)}")
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise WrongAnswer(f"output '{name}' holds NaN")

    def _check_golden(self, golden: Mapping[str, Array], answer: Answer) -> None:
        for name, array in answer.outputs.items():
            if name in golden and not self._equal(name, array, golden[name]):
                raise WrongAnswer(f"output '{name}' of a golden row is not as published")

    def _check_same(self, number: int, answer: Answer) -> None:
        steady = {name: array for name, array in answer.outputs.items() if name in self._known.steady}
        real = {name: array for name, array in steady.items() if array.dtype.kind == "f"}
        # Of two scores that are equal but for rounding the order may change with the size of a batch.
        for name, array in (real or steady).items():
            first = self._first.setdefault((number, answer.version, name), array)
            if not self._equal(name, array, first):
                raise WrongAnswer(f"output '{name}' of a row is another one than before")

    def _equal(self, name: str, array: Array, expected: Array) -> bool:
        if array.dtype.kind != "f":
            return np.array_equal(array, expected)
        return agrees(array, expected, self._outputs[name].datatype, self._tolerance)


def widest(known: Known) -> ToleranceSpec:
    """Whichever backend answers: the largest tolerance of all that the model names, and of the version's precision."""
    given = [TOLERANCES[known.precision], *(tolerance_of(backend) for backend in known.spec.backends)]
    return ToleranceSpec(rtol=max(t.rtol for t in given), atol=max(t.atol for t in given))
