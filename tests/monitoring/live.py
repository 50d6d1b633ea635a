"""What a query gives on a Prometheus that has watched the drive, said in a line where it gives nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from monitoring.observe.prometheus import Prometheus
from monitoring.queries import Query, selectors

STEPS = 60
SETTLE_SECONDS = 3.0


def complaints(prometheus: Prometheus, queries: Iterable[Query], start: float) -> list[str]:
    """A line for each query without a single number, and for each series in it that exists nowhere."""
    asked = list(queries)
    series = {each for query in asked for each in selectors(query.expr)}
    unknown = {each for each in series if not prometheus.instant(f"count(last_over_time({each}[1h]))")}
    return [line for query in asked for line in _complaints(prometheus, query, start, unknown)]


def _complaints(prometheus: Prometheus, query: Query, start: float, nowhere: set[str]) -> list[str]:
    unknown = [each for each in selectors(query.expr) if each in nowhere]
    if unknown:
        return [f"{query.place}: there is no series {', '.join(unknown)}"]
    values = _instant(prometheus, query.expr) if query.instant else _range(prometheus, query.expr, start)
    if not values:
        return [f"{query.place}: no data: {query.expr}"]
    if not any(map(math.isfinite, values)):
        return [f"{query.place}: nothing but NaN: {query.expr}"]
    return []


def _instant(prometheus: Prometheus, expr: str) -> list[float]:
    """An evaluation may lie between two scrapes that belong together: ask again for a moment."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        values = prometheus.instant(expr)
        if any(map(math.isfinite, values)) or time.monotonic() > deadline:
            return values
        time.sleep(0.3)


def _range(prometheus: Prometheus, expr: str, start: float) -> list[float]:
    end = time.time()
    found = prometheus.between(expr, start, end, max(1.0, (end - start) / STEPS))
    return [float(value) for series in found for _, value in series["values"]]
