"""Counts gathered in plain Python and written to prometheus_client now and then: at every scrape, and between.

A counter of prometheus_client costs microseconds (a lock, a process id, a memory-mapped write), which is a good part of
a small model's request. These cost a tenth. They are used, and flushed, in the event loop only.
"""

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

_meters: "list[Tally | Level | Distribution]" = []


def flush() -> None:
    """Write everything that was gathered since the last time."""
    for meter in _meters:
        meter.flush()


class Tally:
    """Adds up."""

    __slots__ = ("_counter", "_pending")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._pending = 0
        _meters.append(self)

    def inc(self, amount: int = 1) -> None:
        self._pending += amount

    def flush(self) -> None:
        if self._pending:
            self._counter.inc(self._pending)
            self._pending = 0


class Level:
    """Goes up and down. Several levels may stand behind one gauge (versions of a model): they add up."""

    __slots__ = ("_gauge", "_value", "_written")

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._value = self._written = 0
        _meters.append(self)

    def set(self, value: int) -> None:
        self._value = value

    def inc(self, amount: int = 1) -> None:
        self._value += amount

    def flush(self) -> None:
        if self._value != self._written:
            self._gauge.inc(self._value - self._written)
            self._written = self._value


class Distribution:
    """Counts by bucket and adds up, as a histogram does; the values wait for the next flush.

    Whoever runs models without an Application calls `flush` now and then.
    """

    __slots__ = ("_histogram", "_values")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._values: list[float] = []
        _meters.append(self)

    def observe(self, value: float) -> None:
        self._values.append(value)

    def observe_many(self, values: NDArray[np.float64]) -> None:
        """Histogram has no way to add many observations at once: its buckets are written directly (a test holds it)."""
        bounds, buckets = self._histogram._upper_bounds, self._histogram._buckets  # noqa: SLF001  (no public way)
        for index, number in enumerate(np.bincount(np.searchsorted(bounds, values), minlength=len(bounds)).tolist()):
            if number:
                buckets[index].inc(number)
        self._histogram._sum.inc(float(values.sum()))  # noqa: SLF001  (no public way, see above)

    def flush(self) -> None:
        if self._values:
            self.observe_many(np.array(self._values))
            self._values.clear()
