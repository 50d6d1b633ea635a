"""A log's events by the bins of a reference: what counts, what is broken, and what the figures say."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import orjson
import pytest

from modelyard.drift.make import Rows, _made
from modelyard.drift.psi import psi
from modelyard.drift_report import page, summary
from modelyard.drift_report.log import BROKEN, OTHERS, events
from modelyard.drift_report.plot import draw
from modelyard.drift_report.tally import Tally
from modelyard.observing.events import FEEDBACK, REFUSED, REQUEST, RESPONSE, Entry, copies_of, event_of
from modelyard.spec import parse_spec
from modelyard.tensors import Tensor
from tests.unit.strategies import bytes_array

SPEC = parse_spec(
    "name: m\n"
    "inputs: [{name: x, datatype: FP32, shape: [-1, 2]}, {name: text, datatype: BYTES, shape: [-1]}]\n"
    "outputs: [{name: p, datatype: FP32, shape: [-1, 3]}]\n"
    "quality: {output: p, measure: top1}\n"
)
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(400, 2)).astype(np.float32)
P = RANDOM.dirichlet([1, 1, 1], size=400).astype(np.float32)
TEXTS = bytes_array([b"a" * int(n) for n in RANDOM.integers(0, 30, 400)], (400,))


@pytest.fixture
def tally() -> Tally:
    return Tally(SPEC, _made(SPEC, Rows({"x": X, "text": TEXTS}, {"p": P})))


def line(kind: str, tensors: list[Tensor], model: str = "m", **more: Any) -> bytes:
    event = event_of(Entry(kind, "id", model, "1", "http", copies_of(tensors, ()), more), "", "")
    return orjson.dumps(event)


def read(tally: Tally, lines: list[bytes]) -> None:
    for event in events(lines, "m", tally.events):
        tally.add(event)
    tally.finish()


def test_events_of_a_server_are_counted_as_the_server_counts(tally: Tally) -> None:
    x = [Tensor("x", "FP32", X), Tensor("text", "BYTES", TEXTS)]
    read(tally, [line(REQUEST, x), line(RESPONSE, [Tensor("p", "FP32", P)])])
    assert tally.events == {REQUEST: 1, RESPONSE: 1}
    for each in summary.compared(tally):
        assert each.rows == 400
        assert each.psi == pytest.approx(0, abs=1e-9), f"{each.name}: these are the rows of the reference"
    assert tally.features["text"][-1] == sum(not text for text in TEXTS)


def test_missing_and_redacted_values(tally: Tally) -> None:
    odd = np.array([[np.nan, 0], [np.inf, 0]], np.float32)
    read(tally, [line(REQUEST, [Tensor("x", "FP32", odd)])])
    found = {each.name: each for each in summary.compared(tally)}
    assert found["x[0]"].missing == 1, "JSON has neither NaN nor infinity: both came as null"
    assert (found["text"].rows, found["text"].psi, found["text"].verdict) == (0, None, "no rows")


def test_feedback_and_refusals(tally: Tally) -> None:
    lines = [
        line(FEEDBACK, [], value=[1, 2, 0], predicted=[1, 2, 2]),
        line(REFUSED, [], reason="shape"),
        line(REFUSED, [], reason="<b>"),
        line(FEEDBACK, [], value=[1], predicted=[1, 2]),
    ]
    read(tally, lines)
    assert tally.feedback == {"correct": 2, "wrong": 1}
    assert tally.events[BROKEN] == 1
    assert "Online accuracy by 3 true values: 0.6667" in page.quality(tally)
    found = summary.compared(tally)
    written = page.page("m", "1", tally, found, draw("m", found))
    assert "<b>" not in written
    assert "&lt;b&gt; 1" in written


def test_without_true_values_nothing_is_said_of_accuracy(tally: Tally) -> None:
    assert "nothing is known of how many answers are right" in page.quality(tally)


@pytest.mark.parametrize(
    "data",
    [
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 2], "data": [1.0]}]},
        {"inputs": [{"name": "x", "datatype": "FP99", "shape": [1, 2], "data": [1.0, 2.0]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": "2", "data": [1.0, 2.0]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1.0, 2.0, 3.0]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2, 2], "data": [1.0, 2.0, 3.0, 4.0]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [4], "data": [1.0, 2.0, 3.0, 4.0]}]},
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1.0, 2.0]}]},
        {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]}]},
        {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 2], "data": [1, 10**30]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 1e300]}]},
        {"inputs": [{"name": "other", "datatype": "UINT8", "shape": [1], "data": [300]}]},
        {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]},
                {"name": "text", "datatype": "INT64", "shape": [1], "data": [1]},
            ]
        },
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [7]}]},
        {"inputs": 7},
        {"inputs": [None]},
        {},
    ],
)
def test_a_request_that_is_none_is_broken_and_counts_nothing(tally: Tally, data: dict[str, Any]) -> None:
    good = line(REQUEST, [Tensor("x", "FP32", X[:5])])
    read(tally, [json.dumps({**orjson.loads(good), "data": data}).encode(), good])
    assert (tally.events[BROKEN], tally.events[REQUEST]) == (1, 1)
    assert tally.features["x[0]"].sum() == 5


@pytest.mark.parametrize(
    "output",
    [
        {"datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.5]},
        {"datatype": "FP64", "shape": [1, 3], "data": [0.5, 0.5, 0.0]},
        {"datatype": "INT64", "shape": [1, 3], "data": [10**30, 0, 0]},
    ],
)
def test_an_answer_of_another_interface_is_broken_and_counts_nothing(tally: Tally, output: dict[str, Any]) -> None:
    good = line(RESPONSE, [Tensor("p", "FP32", P[:5])])
    data = {"outputs": [{"name": "p", **output}]}
    read(tally, [json.dumps({**orjson.loads(good), "data": data}).encode(), good])
    assert (tally.events[BROKEN], tally.events[RESPONSE]) == (1, 1)
    assert tally.answers.sum() == tally.confidence.sum() == 5


@pytest.mark.parametrize("shape", [[1, 8, 7], [1, 16, 16]])
def test_rows_that_are_summed_up_are_not_cut_anew(shape: list[int]) -> None:
    """Their elements would make up other rows, or none at all."""
    spec = parse_spec(
        "name: m\ninputs: [{name: image, datatype: FP32, shape: [-1, 1, 8, 8]}]\n"
        "outputs: [{name: y, datatype: FP32, shape: [-1, 1]}]\n"
    )
    rows = RANDOM.normal(size=(400, 1, 8, 8)).astype(np.float32)
    tally = Tally(spec, _made(spec, Rows({"image": rows}, {})))
    other = np.zeros((1, *shape), np.float32)
    read(tally, [line(REQUEST, [Tensor("image", "FP32", each)]) for each in (rows[:5], other)])
    assert (tally.events[BROKEN], tally.events[REQUEST]) == (1, 1)
    assert tally.features["image.mean"].sum() == 5


@pytest.mark.parametrize("name", ["x", "text"])
def test_a_request_without_rows_is_one(tally: Tally, name: str) -> None:
    empty = {"x": Tensor("x", "FP32", X[:0]), "text": Tensor("text", "BYTES", TEXTS[:0])}
    read(tally, [line(REQUEST, [empty[name]]), line(REQUEST, [Tensor("x", "FP32", X[:5])])])
    assert tally.events == {REQUEST: 2}
    assert (tally.features["x[0]"].sum(), tally.features["text"].sum()) == (5, 0)


def test_lines_that_are_no_events() -> None:
    counts: Counter[str] = Counter()
    lines = [b"", b"\n", b"{", b"\xff", b"7", b'{"type": []}', line(REQUEST, [], model="other"), b'{"type": "x"}']
    assert list(events(lines, "m", counts)) == []
    assert counts == {BROKEN: 5, OTHERS: 1}


def test_verdicts_need_rows() -> None:
    few = summary.Compared("f", [], [], [], 999, 0.5)
    assert "too few" in few.verdict
    for index, words in ((0.05, "no shift"), (0.15, "some shift"), (0.25, "large shift")):
        assert summary.Compared("f", [], [], [], 1000, index).verdict == words
    assert psi([0.5, 0.5], [1, 1]) == 0
