"""Events counted by the bins of a reference."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelyard.drift.bins import counts_of
from modelyard.drift.extract import InputColumns, Taken
from modelyard.drift.features import row_shape
from modelyard.drift.reference import BinnedFeature, Reference, answers_of, confidence_counts
from modelyard.drift_report.log import BROKEN, Event, arrays_of
from modelyard.observing.events import FEEDBACK, REFUSED, REQUEST
from modelyard.spec import ModelSpec, TensorSpec
from modelyard.tensors import DTYPES, Array

PIECES = 512
"""Requests that are binned at once."""


class Tally:
    def __init__(self, spec: ModelSpec, reference: Reference) -> None:
        self.reference = reference
        self.features = {feature.name: np.zeros(len(feature.ratios), np.int64) for feature in reference.features}
        self.answers = np.zeros(len(reference.prediction.ratios) if reference.prediction else 0, np.int64)
        self.confidence = np.zeros(10, np.int64)
        self.refused: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.feedback: Counter[str] = Counter()
        self.first, self.last = "", ""
        self.events: Counter[str] = Counter()
        self._batched = spec.batched
        self._inputs = {
            tensor.name: _Input(tensor, _columns(spec, tensor, own), own)
            for tensor in spec.inputs
            if (own := [feature for feature in reference.features if feature.input == tensor.name])
        }
        self._outputs = {tensor.name: tensor for tensor in spec.outputs}

    def add(self, event: Event) -> None:
        """One that is not as it should be counts as broken."""
        try:
            self._add(event)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError):
            self.events[event["type"]] -= 1
            self.events[BROKEN] += 1

    def finish(self) -> None:
        for each in self._inputs.values():
            each.settle(self.features)

    @property
    def judged(self) -> int:
        return self.feedback["correct"] + self.feedback["wrong"]

    def _add(self, event: Event) -> None:
        kind, data = event["type"], event["data"]
        if kind == REFUSED:
            self.refused[str(data["reason"])[:40]] += 1
        elif kind == FEEDBACK:
            self._add_feedback(data)
        elif kind == REQUEST:
            self._add_rows(arrays_of(data["inputs"]))
            self._note_time(str(event.get("time", "")))
            self.versions[str(event.get("modelversion", "?"))] += 1
        else:
            self._add_answers(arrays_of(data["outputs"]))

    def _add_rows(self, arrays: dict[str, Array]) -> None:
        """All inputs of a request, or none of them."""
        own = [(self._inputs[name], array) for name, array in arrays.items() if name in self._inputs]
        pieces = [(each, each.piece(array, batched=self._batched)) for each, array in own]
        for each, piece in pieces:
            each.add(piece, self.features)

    def _add_answers(self, outputs: dict[str, Array]) -> None:
        prediction = self.reference.prediction
        if prediction is None or prediction.output not in outputs or not len(outputs[prediction.output]):
            return
        if prediction.output in self._outputs:
            _check(self._outputs[prediction.output], outputs[prediction.output])
        answers, confidence = answers_of(prediction.kind, outputs[prediction.output])
        self.answers += prediction.counts_of(answers)
        if confidence is not None:
            self.confidence += confidence_counts(confidence)

    def _add_feedback(self, data: dict[str, Any]) -> None:
        pairs = list(zip(data["predicted"], data["value"], strict=True))  # all of them, or none
        self.feedback.update("correct" if answer == true else "wrong" for answer, true in pairs)

    def _note_time(self, time: str) -> None:
        self.first = min(self.first or time, time)
        self.last = max(self.last, time)


class _Input:
    def __init__(self, tensor: TensorSpec, columns: InputColumns, features: Sequence[BinnedFeature]) -> None:
        self._tensor, self._columns, self._features = tensor, columns, features
        self._edges = [np.array(feature.edges) for feature in features]
        self._pieces: list[Taken] = []

    def piece(self, array: Array, *, batched: bool) -> Taken:
        """The rows of one request. Raises ValueError for those that are no input of this version."""
        _check(self._tensor, array)
        piece = self._columns.take(array if batched else array[None])
        self._columns.columns([piece])  # one that does not fit the reference spoils no other
        return piece

    def add(self, piece: Taken, counts: dict[str, Array]) -> None:
        self._pieces.append(piece)
        if len(self._pieces) >= PIECES:
            self.settle(counts)

    def settle(self, counts: dict[str, Array]) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            found = counts_of(self._columns.columns(pieces), self._edges)
            for feature, own in zip(self._features, found, strict=True):
                counts[feature.name] += own


def _columns(spec: ModelSpec, tensor: TensorSpec, features: Sequence[BinnedFeature]) -> InputColumns:
    datatype = "FP32" if tensor.datatype == "BF16" else tensor.datatype  # a log has numbers, not their bits
    return InputColumns(datatype, row_shape(spec, tensor), features)


def _check(tensor: TensorSpec, array: Array) -> None:
    """A log may go back to a version with another interface: its rows would be read as numbers that nobody sent."""
    dtype = np.dtype(np.float32) if tensor.datatype == "BF16" else DTYPES[tensor.datatype]
    fits = len(array.shape) == len(tensor.shape) and all(
        wanted in (-1, size) for wanted, size in zip(tensor.shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise ValueError(f"'{tensor.name}' is no {tensor.datatype} {list(tensor.shape)}")
