"""What is copied at once and binned later is counted as if each row had been looked at by itself."""

from __future__ import annotations

import itertools
from itertools import count
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.drift.make import Rows, _made
from modelyard.observing import drift_watch
from modelyard.observing.drift_watch import MORE_ROWS, MOST_ROWS, DriftWatch, series_of
from modelyard.spec import ModelSpec, parse_spec
from modelyard.tensors import InferRequest, InferResponse, Tensor
from tests.unit.strategies import Array, metric

_names = count()
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 2)).astype(np.float32)
Y = RANDOM.dirichlet([1, 1, 1], size=300).astype(np.float32)


class Watched:
    """A watch of a model that no other test knows."""

    def __init__(self) -> None:
        self.model = f"watched-{next(_names)}"
        self.reference = _made(self.spec(), Rows({"x": X, "n": X[:, 0].astype(np.int64)}, {"p": Y}))
        self.watch = DriftWatch(self.spec(), "1", self.reference)

    def spec(self) -> ModelSpec:
        return parse_spec(
            f"name: {self.model}\n"
            "inputs: [{name: x, datatype: FP32, shape: [-1, 2]}, {name: n, datatype: INT64, shape: [-1]}]\n"
            "outputs: [{name: p, datatype: FP32, shape: [-1, 3]}]\n"
            "quality: {output: p, measure: top1}\n"
        )

    def take(self, x: Array, *, swapped: bool = False, answers: Array | None = None) -> None:
        tensors = [Tensor("x", "FP32", x), Tensor("n", "INT64", np.zeros(len(x), np.int64))]
        outputs = [] if answers is None else [Tensor("p", "FP32", answers)]
        self.watch.take(InferRequest(self.model, tensors[:: -1 if swapped else 1]), InferResponse("", "", outputs))

    def counted(self, feature: int) -> list[float]:
        found = self.reference.features[feature]
        bins = [*map(str, range(len(found.edges) + 1)), "missing"]
        of = {"model": self.model, "version": "1", "feature": found.name}
        return [metric("feature_observations_total", **of, bin=label) for label in bins]

    def classes(self) -> list[float]:
        labels = [*map(str, range(3)), "other"]
        of = {"model": self.model, "version": "1"}
        return [metric("prediction_observations_total", **of, **{"class": label}) for label in labels]

    @property
    def skipped(self) -> float:
        return metric("drift_skipped_rows_total", model=self.model, version="1")


VALUE = st.one_of(st.floats(-4, 4, width=32), st.sampled_from([np.nan, np.inf, -np.inf]))


class Count:
    """A counter that is quickly read: those of the registry are not."""

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float) -> None:
        self.value += amount


@pytest.fixture(scope="module")
def shared() -> Watched:
    return Watched()


@given(st.lists(st.lists(st.tuples(VALUE, VALUE), max_size=5), max_size=6), st.booleans())
def test_each_row_is_in_one_bin_of_each_feature(
    shared: Watched, requests: list[list[tuple[float, float]]], often: bool
) -> None:
    counters = [[Count() for _ in feature.ratios] for feature in shared.reference.features]
    shared.watch.metrics.features = cast(Any, counters)
    for rows in requests:
        shared.take(np.array(rows, np.float32).reshape(-1, 2))
        if often:
            shared.watch.settle()
    shared.watch.settle()
    for place in (0, 1):
        edges = shared.reference.features[place].edges
        expected = [0.0] * (len(edges) + 2)
        for row in itertools.chain(*requests):
            value = float(np.float32(row[place]))
            expected[-1 if np.isnan(value) else sum(value >= edge for edge in edges)] += 1
        assert [counter.value for counter in counters[place]] == expected


def test_inputs_in_another_order_and_answers_left_out() -> None:
    watched = Watched()
    watched.take(X[:10], swapped=True, answers=Y[:10])
    watched.take(X[:10])
    watched.watch.settle()
    assert sum(watched.counted(0)) == 20
    assert watched.classes() == [*np.bincount(Y[:10].argmax(axis=1), minlength=3).tolist(), 0]


def test_an_answer_that_is_no_number_is_another_class() -> None:
    watched = Watched()
    watched.take(X[:1], answers=np.full((1, 3), np.nan, np.float32))
    watched.watch.settle()
    assert watched.classes() == [0, 0, 0, 1]
    assert metric("prediction_confidence_count", model=watched.model, version="1") == 0


def test_rows_without_room_are_counted_as_left_out() -> None:
    watched = Watched()
    many = RANDOM.normal(size=(MOST_ROWS - 8, 2)).astype(np.float32)
    watched.take(many)
    watched.take(X[:100])  # 8 places: every 13th
    watched.take(X[:5])
    watched.watch.settle()
    looked_at = sum(watched.counted(0))
    assert (looked_at, watched.skipped) == (MOST_ROWS, 97)
    watched.take(X[:5])
    watched.watch.settle()
    assert sum(watched.counted(0)) == looked_at + 5, "there is room again"


def test_of_a_load_that_lasts_a_part_is_looked_at() -> None:
    watched = Watched()
    watched.take(RANDOM.normal(size=(MOST_ROWS, 2)).astype(np.float32))
    for _ in range(3):
        watched.watch.settle()
        before = sum(watched.counted(0))
        for _ in range(MORE_ROWS + 10):
            watched.take(X[:1])
        watched.watch.settle()
        assert sum(watched.counted(0)) - before <= 2 * MORE_ROWS
        assert sum(watched.counted(0)) - before >= MORE_ROWS
    assert watched.skipped > 0


def test_it_holds_a_bounded_number_of_rows() -> None:
    watched = Watched()
    for _ in range(50):
        watched.take(X)
    held = sum(len(raw) for each in watched.watch._inputs for raw in each._taken)
    assert held <= MOST_ROWS * 16, "two columns of FP32, one of INT64"


def test_a_reference_of_another_interface_is_refused() -> None:
    watched = Watched()
    inputs, outputs = "[{name: z, datatype: FP32, shape: [-1, 2]}]", "[{name: p, datatype: FP32, shape: [-1, 3]}]"
    spec = parse_spec(f"name: m\ninputs: {inputs}\noutputs: {outputs}\n")
    with pytest.raises(KeyError):
        DriftWatch(spec, "1", watched.reference)


def test_the_number_of_series_is_known_beforehand() -> None:
    watched = Watched()
    bins = sum(len(feature.ratios) for feature in watched.reference.features)
    assert series_of(watched.reference) >= 2 * (bins + 4) + 13
    assert drift_watch.MOST_ROWS == MOST_ROWS
