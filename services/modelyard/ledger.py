"""What became of one version's requests and runs: noted in the event loop, turned into metrics and statistics later.

A request is noted with an append or two; `settle`, at every scrape and now and then between, does the sums for all of
them at once. Beside a model of microseconds the sums, done for each request, would be a good part of its cost.
"""

import time
from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np

from modelyard.batching.item import Execution
from modelyard.metrics import PROTOCOLS, ModelMetrics
from modelyard.statistics import Duration, ModelStatistics

BYPASS = "bypass"


class Ledger:
    def __init__(self, metrics: ModelMetrics, statistics: ModelStatistics) -> None:
        self._metrics = metrics
        self._statistics = statistics
        self._answered: dict[str, list[float]] = {protocol: [] for protocol in PROTOCOLS}
        """Protocol to seconds, seconds of decoding, seconds of encoding of one answer after the other."""
        self._bypassed = 0
        self._looked_up: list[tuple[Sequence[str], float]] = []
        """What the cache said of the rows of each answer, and the seconds that took."""

    def answered(self, protocol: str, seconds: float, decode_seconds: float, encode_seconds: float) -> None:
        self._answered[protocol] += (seconds, decode_seconds, encode_seconds)

    def failed(self, protocol: str, outcome: str, seconds: float) -> None:
        self._metrics.answered(protocol, outcome, seconds)
        self._statistics.fail.add(seconds)

    def bypassed(self, rows: int) -> None:
        """Rows that were computed without a look into the cache."""
        self._bypassed += rows

    def rows(self, results: Sequence[str], seconds: float) -> None:
        """Where the rows of an answer came from, and how long that took."""
        self._looked_up.append((results, seconds))

    def run(self, execution: Execution) -> None:
        """One run of the model."""
        m, s = self._metrics, self._statistics
        runs = 1 + execution.requests if execution.retried else 1
        if execution.retried:
            m.batch_retries.inc()
        m.batch_rows.observe(execution.rows)
        m.stage["infer"].observe(execution.seconds)
        m.stage["queue"].observe(max(execution.queue_seconds))
        s.execution_count += runs
        s.compute_infer.add(execution.seconds)
        s.queue.add(sum(execution.queue_seconds), execution.requests)
        s.batches.setdefault(execution.rows, Duration()).add(execution.seconds, runs)

    def settle(self, in_flight: int, queue_rows: int) -> None:
        """Do the sums; the two levels are those of now."""
        self._metrics.in_flight.set(in_flight)
        self._metrics.queue_rows.set(queue_rows)
        if self._bypassed or self._looked_up:
            self._settle_rows()
        for protocol, answers in self._answered.items():
            if answers:
                self._settle_answers(protocol, np.array(answers).reshape(-1, 3))
                answers.clear()

    def _settle_rows(self) -> None:
        counts = Counter(chain.from_iterable([results for results, _ in self._looked_up]))
        counts[BYPASS] += self._bypassed
        for result, rows in counts.items():
            self._metrics.cache_rows[result].inc(rows)
            self._statistics.inference_count += rows
        for results, seconds in self._looked_up:
            if "miss" in results:
                self._statistics.cache_miss.add(seconds, results.count("miss"))
            else:
                self._metrics.stage["cache"].observe(seconds)
                self._statistics.cache_hit.add(seconds, results.count("hit_memory") + results.count("hit_redis"))
        self._looked_up.clear()
        self._bypassed = 0

    def _settle_answers(self, protocol: str, seconds: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
        m, s = self._metrics, self._statistics
        m.answered_many(protocol, "ok", seconds[:, 0])
        m.stage["decode"].observe_many(seconds[:, 1])
        m.stage["encode"].observe_many(seconds[:, 2])
        totals, count = seconds.sum(axis=0).tolist(), len(seconds)
        for duration, total in zip((s.success, s.compute_input, s.compute_output), totals, strict=True):
            duration.add(total, count)
        s.last_inference = time.time_ns() // 1_000_000


class NoLedger(Ledger):
    """Notes nothing (MODELYARD_METRICS=false): what is left is the price of a request without them."""

    def answered(self, protocol: str, seconds: float, decode_seconds: float, encode_seconds: float) -> None: ...

    def failed(self, protocol: str, outcome: str, seconds: float) -> None: ...

    def bypassed(self, rows: int) -> None: ...

    def rows(self, results: Sequence[str], seconds: float) -> None: ...

    def run(self, execution: Execution) -> None: ...

    def settle(self, in_flight: int, queue_rows: int) -> None: ...


def summary(results: Sequence[str]) -> str:
    """One word for a whole response: hit, join, miss, bypass, or partial when some rows were known and some not."""
    if len(results) == 1:
        return "hit" if results[0].startswith("hit") else results[0]
    kinds = {"hit" if result.startswith("hit") else result for result in results} or {"bypass"}
    if len(kinds) == 1:
        return kinds.pop()
    return "partial" if "miss" in kinds else "join"
