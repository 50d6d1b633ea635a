"""What is noted one by one and summed later gives the same counts as summing each."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from modelyard import metrics
from modelyard.batching.item import Execution
from modelyard.ledger import BYPASS, Ledger
from modelyard.meters import Level
from modelyard.metrics import PROTOCOLS, of_model
from modelyard.statistics import ModelStatistics
from tests.unit.strategies import metric

_names = count()


class Books:
    """A ledger of a model that no other test knows, and its counts."""

    def __init__(self) -> None:
        self.model = f"ledger-{next(_names)}"
        self.statistics = ModelStatistics(self.model, "1")
        self.ledger = Ledger(of_model(self.model, "1"), self.statistics)

    def requests(self, protocol: str, outcome: str = "ok") -> float:
        return metric("requests_total", model=self.model, version="1", protocol=protocol, outcome=outcome)

    def duration(self, protocol: str, what: str) -> float:
        return metric(f"request_duration_seconds_{what}", model=self.model, version="1", protocol=protocol)

    def stage(self, stage: str, what: str = "count") -> float:
        return metric(f"stage_duration_seconds_{what}", model=self.model, stage=stage)

    def rows(self, result: str) -> float:
        return metric("cache_rows_total", model=self.model, result=result)

    def settle(self) -> None:
        self.ledger.settle(0, 0)


class Recorded:
    """ModelMetrics as far as answers go: reading real ones takes too long to do it often."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {protocol: [] for protocol in PROTOCOLS}
        self.stage = {"decode": Values(), "encode": Values()}
        self.in_flight = self.queue_rows = Level(metrics.queue_rows.labels("ledger"))

    def answered_many(self, protocol: str, outcome: str, seconds: NDArray[np.float64]) -> None:
        assert outcome == "ok"
        self.seconds[protocol] += seconds.tolist()


class Values(list[float]):
    def observe_many(self, values: NDArray[np.float64]) -> None:
        self.extend(values.tolist())


SECONDS = st.floats(0, 4)
ANSWERS = st.lists(st.tuples(st.sampled_from(PROTOCOLS), SECONDS, SECONDS, SECONDS), max_size=20)


@given(ANSWERS, st.integers(1, 5))
def test_answers_are_counted_once_whenever_they_are_settled(
    answers: list[tuple[str, float, float, float]], often: int
) -> None:
    recorded, statistics = Recorded(), ModelStatistics("ledger", "1")
    ledger = Ledger(cast(Any, recorded), statistics)
    for index, (protocol, seconds, decoding, encoding) in enumerate(answers):
        ledger.answered(protocol, seconds, decoding, encoding)
        if index % often == 0:
            ledger.settle(0, 0)
    ledger.settle(0, 0)
    ledger.settle(0, 0)
    for protocol in PROTOCOLS:
        assert recorded.seconds[protocol] == [seconds for name, seconds, _, _ in answers if name == protocol]
    assert sorted(recorded.stage["decode"]) == sorted(answer[2] for answer in answers)
    assert sorted(recorded.stage["encode"]) == sorted(answer[3] for answer in answers)
    totals = np.array([answer[1:] for answer in answers], float).reshape(-1, 3).sum(axis=0)
    s = statistics
    for duration, total in zip((s.success, s.compute_input, s.compute_output), totals, strict=True):
        assert duration.count == len(answers)
        assert duration.ns == pytest.approx(total * 1e9, abs=1000)


def test_answers_reach_the_metrics() -> None:
    books = Books()
    for seconds in (0.5, 0.25):
        books.ledger.answered("http", seconds, 0.125, 0.0625)
    books.settle()
    assert (books.requests("http"), books.requests("grpc")) == (2, 0)
    assert books.duration("http", "sum") == 0.75
    assert (books.stage("decode", "sum"), books.stage("encode", "sum")) == (0.25, 0.125)


def test_the_last_inference_is_that_of_an_answer() -> None:
    books = Books()
    books.settle()
    assert books.statistics.last_inference == 0
    books.ledger.answered("http", 0.1, 0.0, 0.0)
    books.settle()
    assert books.statistics.last_inference > 1_500_000_000_000


def test_a_failure_is_none_of_the_good_ones() -> None:
    books = Books()
    books.ledger.failed("grpc", "timeout", 0.5)
    books.settle()
    assert (books.requests("grpc", "timeout"), books.requests("grpc")) == (1, 0)
    assert books.duration("grpc", "sum") == 0.5
    assert (books.statistics.fail.count, books.statistics.fail.ns) == (1, 500_000_000)
    assert books.statistics.success.count == 0


@pytest.mark.parametrize(
    ("results", "hits", "misses"),
    [
        (["hit_memory", "hit_redis", "hit_memory"], 3, 0),
        (["hit_memory", "miss", "join", "miss"], 0, 2),
        (["join"], 0, 0),
    ],
)
def test_rows_are_counted_by_where_they_came_from(results: list[str], hits: int, misses: int) -> None:
    books = Books()
    books.ledger.rows(results, 0.25)
    assert books.statistics.inference_count == 0, "not before it is settled"
    for _ in range(2):
        books.settle()
        assert {result: books.rows(result) for result in results} == {name: results.count(name) for name in results}
        assert books.statistics.inference_count == len(results)
    s = books.statistics
    assert (s.cache_hit.count, s.cache_miss.count) == (hits, misses)
    assert s.cache_miss.ns == (250_000_000 if misses else 0)
    assert books.stage("cache") == (not misses)


def test_rows_that_went_past_the_cache_are_no_look_ups() -> None:
    books = Books()
    books.ledger.bypassed(2)
    books.ledger.bypassed(3)
    for _ in range(2):
        books.settle()
        assert (books.rows(BYPASS), books.statistics.inference_count) == (5, 5)
    assert (books.statistics.cache_hit.count, books.statistics.cache_miss.count) == (0, 0)
    assert books.stage("cache") == 0


def test_a_run_is_counted_at_once() -> None:
    books = Books()
    books.ledger.run(Execution(6, 2, 0.5, 0.4, [0.1, 0.3], retried=False, failed=0))
    s = books.statistics
    assert (s.execution_count, s.compute_infer.ns, s.queue.count) == (1, 500_000_000, 2)
    assert s.queue.ns == pytest.approx(400_000_000, abs=10)
    assert (s.batches[6].count, s.batches[6].ns) == (1, 500_000_000)
    assert metric("batch_rows_sum", model=books.model) == 6
    assert (books.stage("infer", "sum"), books.stage("queue", "sum")) == (0.5, 0.3)
    assert metric("batch_retries_total", model=books.model) == 0


def test_a_batch_that_was_run_again_one_by_one_is_as_many_runs() -> None:
    books = Books()
    books.ledger.run(Execution(6, 3, 0.5, 0.4, [0.1, 0.1, 0.1], retried=True, failed=1))
    assert books.statistics.execution_count == books.statistics.batches[6].count == 4
    assert metric("batch_retries_total", model=books.model) == 1


def test_the_levels_are_those_of_the_last_settlement() -> None:
    books = Books()
    for in_flight, rows in ((3, 40), (1, 0), (0, 0)):
        books.ledger.settle(in_flight, rows)
        assert metric("in_flight_requests", model=books.model) == in_flight
        assert metric("queue_rows", model=books.model) == rows
