"""The rows of one version by the bins of its reference.

Copied in the event loop when a request has been answered, binned for all of them when the metrics are settled, four
times a second. There is room for MOST_ROWS, and for MORE_ROWS more after each settling: a burst is looked at whole, and
a thousand rows a second of a load that lasts, far more than a PSI needs. The others are counted: a share stays right,
since they stand in none of its counts.
"""

import numpy as np

from modelyard.drift.bins import counts_of, labels_of
from modelyard.drift.extract import InputColumns, Taken
from modelyard.drift.features import row_shape
from modelyard.drift.reference import BinnedFeature, Prediction, Reference, answers_of
from modelyard.drift_metrics import DriftMetrics, add_counts
from modelyard.drift_spec import elements_of
from modelyard.spec import ModelSpec
from modelyard.tensors import DTYPES, Array, InferRequest, InferResponse, Tensor

MOST_ROWS = 2048
"""Of at most 8 KiB an input each, see extract.MOST_ELEMENTS: so much memory for a version, and a few milliseconds."""
MORE_ROWS = 256
NARROW = 64
"""Probabilities of so many classes are copied; of more, the highest is looked for at once."""


class DriftWatch:
    def __init__(self, spec: ModelSpec, version: str, reference: Reference) -> None:
        """Raises KeyError when the reference names an input or output that the version has not."""
        self._batched = spec.batched
        tensors = {tensor.name: tensor for tensor in spec.inputs}
        by_input: dict[str, list[BinnedFeature]] = {}
        for feature in reference.features:
            by_input.setdefault(feature.input, []).append(feature)
        self._inputs = [
            _Input(
                InputColumns(tensors[name].datatype, row_shape(spec, tensors[name]), features),
                features,
                [tensor.name for tensor in spec.inputs].index(name),
                spec.drift.ranges,
                batched=spec.batched,
            )
            for name, features in by_input.items()
        ]
        self._answers = _Answers(reference.prediction, spec) if reference.prediction else None
        self._room = MOST_ROWS
        self._taken = False
        self._skipped = 0
        order = [feature for each in self._inputs for feature in each.features]
        self.metrics = DriftMetrics(
            spec.name,
            version,
            {f.name: dict(zip(labels_of(f.edges), f.ratios, strict=True)) for f in order},
            self._answers.shares if self._answers else {},
            [feature.name for feature in order if feature.name in spec.drift.ranges],
        )

    def take(self, request: InferRequest, response: InferResponse) -> None:
        """Copy the rows, or every second, third ... of them where there is no room for all."""
        rows = request.inputs[0].array.shape[0] if self._batched else 1
        if not 0 < rows <= self._room:
            self._take_some(request, response, rows)
            return
        self._room -= rows
        self._taken = True
        for each in self._inputs:
            each.take(request.inputs)
        if self._answers is not None:
            self._answers.take(response.outputs)

    def settle(self) -> None:
        """Bin what has come, count it, and let it go."""
        if self._skipped:
            self.metrics.skipped.inc(self._skipped)
            self._skipped = 0
        self._room = min(MOST_ROWS, self._room + MORE_ROWS)
        if not self._taken:
            return
        self._taken = False
        position = 0
        for each in self._inputs:
            position = each.settle(self.metrics, position)
        if self._answers is not None:
            self._answers.settle(self.metrics)

    def _take_some(self, request: InferRequest, response: InferResponse, rows: int) -> None:
        if not rows or not self._room:
            self._skipped += rows
            return
        step = -(-rows // self._room)
        self._skipped += rows - len(range(0, rows, step))
        inputs = [Tensor(t.name, t.datatype, t.array[::step]) for t in request.inputs]
        outputs = [Tensor(t.name, t.datatype, t.array[::step]) for t in response.outputs]
        self.take(InferRequest(request.model_name, inputs), InferResponse("", "", outputs))


class _Input:
    """The features of one input."""

    def __init__(
        self,
        columns: InputColumns,
        features: list[BinnedFeature],
        place: int,
        ranges: dict[str, tuple[float, float]],
        *,
        batched: bool,
    ) -> None:
        self.features = features
        self._columns, self._place, self._batched = columns, place, batched
        self._name = features[0].input
        self._edges = [np.array(feature.edges) for feature in features]
        self._ranges = [(i, f.name, *ranges[f.name]) for i, f in enumerate(features) if f.name in ranges]
        self._taken: list[Taken] = []

    def take(self, tensors: list[Tensor]) -> None:
        tensor = tensors[self._place]
        if tensor.name != self._name:  # the caller has an order of its own
            tensor = next(each for each in tensors if each.name == self._name)
        self._taken.append(self._columns.take(tensor.array if self._batched else tensor.array[None]))

    def settle(self, metrics: DriftMetrics, position: int) -> int:
        """`position`: of this input's first feature among all. Returns that of the next input."""
        taken, self._taken = self._taken, []
        end = position + len(self.features)
        if taken:
            columns = self._columns.columns(taken)
            for counters, counts in zip(metrics.features[position:end], counts_of(columns, self._edges), strict=True):
                add_counts(counters, counts)
            for place, name, low, high in self._ranges:
                outside = int(((columns[:, place] < low) | (columns[:, place] > high)).sum())
                if outside:
                    metrics.out_of_range[name].inc(outside)
        return end


class _Answers:
    """The output that is the prediction."""

    def __init__(self, prediction: Prediction, spec: ModelSpec) -> None:
        tensor = next((tensor for tensor in spec.outputs if tensor.name == prediction.output), None)
        if tensor is None:
            raise KeyError(prediction.output)
        self._prediction = prediction
        self._dtype = DTYPES[tensor.datatype]
        self.shares = dict(zip(prediction.labels, prediction.ratios, strict=True))
        self._copies: list[bytes] = []
        self._name = tensor.name
        self._width = elements_of(row_shape(spec, tensor)) or 1
        self._narrow = self._width <= NARROW
        self._found: list[tuple[Array, Array | None]] = []

    def take(self, outputs: list[Tensor]) -> None:
        for tensor in outputs:
            if tensor.name == self._name:
                if self._narrow:
                    self._copies.append(tensor.array.tobytes())
                else:
                    self._found.append(answers_of(self._prediction.kind, tensor.array))
                return  # a caller may ask for other outputs alone

    def settle(self, metrics: DriftMetrics) -> None:
        copies, self._copies = self._copies, []
        found, self._found = self._found, []
        if copies:
            flat = np.frombuffer(b"".join(copies), self._dtype)
            found.append(answers_of(self._prediction.kind, flat.reshape(-1, self._width)))
        for answers, confidence in found:
            add_counts(metrics.classes, self._prediction.counts_of(answers))
            if confidence is not None and self._prediction.confidence is not None:
                known = confidence[~np.isnan(confidence)]
                metrics.confidence(np.minimum(known, 1.0))  # rounding may make a sum of 1 a little more


def series_of(reference: Reference) -> int:
    """How many series a version with this reference has in an exposition."""
    bins = sum(len(feature.ratios) for feature in reference.features)
    classes = len(reference.prediction.ratios) if reference.prediction else 0
    return 2 * (bins + classes) + 16
