"""The metrics of drift, feedback and payload log. As in metrics.py: defined once, all series made at zero.

A version without a reference has none of the feature_ and prediction_ series.
"""

from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from modelyard.meters import Distribution, Tally

CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FEEDBACK_RESULTS = ("correct", "wrong", "unknown")
PAYLOAD_RESULTS = ("written", "dropped", "failed")

_OF_A_VERSION = ("model", "version")

feature_observations = Counter(
    "modelyard_feature_observations",
    "Rows by the bin that a feature of theirs falls into.",
    (*_OF_A_VERSION, "feature", "bin"),
)
feature_reference = Gauge(
    "modelyard_feature_reference_ratio",
    "The share of the reference rows in this bin, 0.0001 at least.",
    (*_OF_A_VERSION, "feature", "bin"),
    multiprocess_mode="livemax",
)
feature_out_of_range = Counter(
    "modelyard_feature_out_of_range",
    "Rows whose feature is outside its plausible range.",
    (*_OF_A_VERSION, "feature"),
)
prediction_observations = Counter("modelyard_prediction_observations", "Answers by class.", (*_OF_A_VERSION, "class"))
prediction_reference = Gauge(
    "modelyard_prediction_reference_ratio",
    "The share of this class among the answers to the reference rows, 0.0001 at least.",
    (*_OF_A_VERSION, "class"),
    multiprocess_mode="livemax",
)
prediction_confidence = Histogram(
    "modelyard_prediction_confidence",
    "The highest probability of each answer.",
    _OF_A_VERSION,
    buckets=CONFIDENCE_BUCKETS,
)
reference_rows = Gauge(
    "modelyard_drift_reference_rows",
    "Rows that the reference of the version was made of.",
    _OF_A_VERSION,
    multiprocess_mode="livemax",
)
skipped_rows = Counter(
    "modelyard_drift_skipped_rows", "Rows under high load that drift was not measured on.", _OF_A_VERSION
)
feedback = Counter("modelyard_feedback", "Answers by what the true value made of them.", (*_OF_A_VERSION, "result"))
payload_log = Counter("modelyard_payload_log", "Events of the payload log.", ("result",))


def show_reference(model: str, version: str, rows: int) -> None:
    """How far the shares of a version's reference can be relied on, whether it is watched or not."""
    reference_rows.labels(model, version).set(rows)


class DriftMetrics:
    """The series of one version's drift."""

    def __init__(
        self,
        model: str,
        version: str,
        features: Mapping[str, Mapping[str, float]],
        classes: Mapping[str, float],
        ranged: Iterable[str],
    ) -> None:
        """`features`: name to the reference's share of each bin; `classes`: its share of each class."""
        for name, bins in features.items():
            for label, share in bins.items():
                feature_reference.labels(model, version, name, label).set(share)
        for label, share in classes.items():
            prediction_reference.labels(model, version, label).set(share)
        self.features = [
            [feature_observations.labels(model, version, name, label) for label in bins]
            for name, bins in features.items()
        ]
        self.classes = [prediction_observations.labels(model, version, label) for label in classes]
        self.out_of_range = {name: feature_out_of_range.labels(model, version, name) for name in ranged}
        self.skipped = skipped_rows.labels(model, version)
        self._confidence = _confidence_of(model, version) if classes else None

    def confidence(self, values: NDArray[np.float64]) -> None:
        if self._confidence is not None:
            self._confidence.observe_many(values)


@cache
def _confidence_of(model: str, version: str) -> Distribution:
    return Distribution(prediction_confidence.labels(model, version))


@cache
def feedback_by_result(model: str, version: str) -> dict[str, Tally]:
    """One object for a version, however often it is loaded."""
    return {result: Tally(feedback.labels(model, version, result)) for result in FEEDBACK_RESULTS}


@cache
def payloads_by_result() -> dict[str, Tally]:
    return {result: Tally(payload_log.labels(result)) for result in PAYLOAD_RESULTS}


def add_counts(counters: Iterable[Counter], counts: NDArray[np.int64]) -> None:
    """Many rows at once: nothing is left to gather that a Tally would save."""
    for counter, count in zip(counters, counts.tolist(), strict=True):
        if count:
            counter.inc(count)
