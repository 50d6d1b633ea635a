"""Counts gathered in plain Python and written to prometheus_client now and then: at every scrape, and between.

A counter of prometheus_client costs microseconds (a lock, a process id, a memory-mapped write), which is a good part of
a small model's request. These cost a tenth. They are used, and flushed, in the event loop only.
"""

from bisect import bisect_left

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
    """Counts by bucket and adds up, as a histogram does."""

    __slots__ = ("_bounds", "_counts", "_dirty", "_histogram", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._bounds: list[float] = histogram._upper_bounds  # noqa: SLF001  (see flush)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._dirty = False
        _meters.append(self)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value
        self._dirty = True

    def flush(self) -> None:
        """Histogram has no way to add many observations at once: its buckets are written directly (a test holds it)."""
        if not self._dirty:
            return
        buckets = self._histogram._buckets  # noqa: SLF001  (no public way, see above)
        for index, count in enumerate(self._counts):
            if count:
                buckets[index].inc(count)
        self._histogram._sum.inc(self._sum)  # noqa: SLF001  (no public way, see above)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._dirty = False
