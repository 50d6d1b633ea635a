"""What became of every request, in windows of time and in total; nothing grows with the number of requests.

    add(request) -> the window of its intended time -> close: counts and percentiles of the window -> totals

Latencies count from the time that the schedule had set, not from when the request got sent: time that a request waited
for a connection is time that its user waited.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

# ok: right and in time. late: right, but after the deadline. refused: 429 or 503, RESOURCE_EXHAUSTED or UNAVAILABLE.
# expired: the server gave up (504). failed: any other status. broken: the connection ended. lost: no answer at all.
# unsent: no connection was free for it.
OUTCOMES = ("ok", "late", "wrong", "refused", "expired", "failed", "broken", "lost", "unsent")
ANSWERED = ("ok", "late")

_LEAST, _STEP, _BUCKETS = 1e-6, 1.01, 2100


class Latencies:
    """A histogram with buckets 1 % wide, from a microsecond to twenty minutes."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: npt.NDArray[np.float64]) -> None:
        """Count some latencies."""
        if not len(seconds):
            return
        index = np.log(np.maximum(seconds, _LEAST) / _LEAST) / np.log(_STEP)
        self._counts += np.bincount(np.minimum(index.astype(np.int64), _BUCKETS - 1), minlength=_BUCKETS)
        self.count += len(seconds)
        self.longest = max(self.longest, float(seconds.max()))

    def percentile(self, percent: float) -> float:
        """Upper edge of the bucket that holds it; 0 when nothing was counted."""
        if not self.count:
            return 0.0
        bucket = int(np.searchsorted(np.cumsum(self._counts), np.ceil(self.count * percent / 100)))
        return min(float(_LEAST * _STEP ** (bucket + 1)), self.longest)

    def summary(self) -> dict[str, float]:
        """For the result."""
        shown = {f"p{percent:g}": self.percentile(percent) for percent in (50, 90, 99, 99.9)}
        return {"count": self.count, **shown, "max": self.longest}


class Ledger:
    def __init__(self, window: float = 1.0) -> None:
        self.window = window
        self.windows: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.lanes: dict[str, Counter[str]] = defaultdict(Counter)
        self.errors: Counter[str] = Counter()
        self._open: dict[int, list[tuple[str, str, float, float]]] = defaultdict(list)
        self._closed = 0
        self._latencies = {"answered": Latencies(), "refused": Latencies(), "schedule": Latencies()}
        self._lane_latencies: dict[str, Latencies] = defaultdict(Latencies)

    def add(self, lane: str, outcome: str, intended: float, latency: float, lag: float) -> None:
        """Count a request: `intended` seconds after the start, `lag` seconds later than that sent."""
        self.counts[outcome] += 1
        self.lanes[lane][outcome] += 1
        # what comes in after its window was closed is counted in the oldest that is open
        self._open[max(self._closed, int(intended / self.window))].append((lane, outcome, latency, lag))

    def note(self, text: str) -> None:
        """Keep what an error said: the first ten kinds."""
        if text in self.errors or len(self.errors) < 10:
            self.errors[text] += 1

    def close(self, until: float = float("inf")) -> None:
        """Sum up all windows that end before `until` seconds."""
        for index in sorted(self._open):
            if (index + 1) * self.window > until:
                break
            self.windows.append(self._sum_up(index * self.window, self._open.pop(index)))
            self._closed = index + 1

    def summary(self) -> dict[str, Any]:
        """Totals and windows."""
        return {
            "counts": {outcome: self.counts[outcome] for outcome in OUTCOMES},
            "lanes": {lane: dict(counts) for lane, counts in self.lanes.items()},
            "errors": dict(self.errors),
            "latency": {name: latencies.summary() for name, latencies in self._latencies.items()},
            "lane_latency": {lane: latencies.summary() for lane, latencies in self._lane_latencies.items()},
            "windows": self.windows,
        }

    def _sum_up(self, begin: float, records: list[tuple[str, str, float, float]]) -> dict[str, Any]:
        lanes, outcomes = np.array([record[:2] for record in records]).T
        times = np.array([record[2:] for record in records])
        sent, answered = times[outcomes != "unsent"], np.isin(outcomes, ANSWERED)
        for lane in set(lanes.tolist()):
            self._lane_latencies[lane].add(times[answered & (lanes == lane), 0])
        parts = {
            "answered": times[answered, 0],
            "refused": times[outcomes == "refused", 0],
            "schedule": sent[:, 1],
        }
        row: dict[str, Any] = {"second": begin, "offered": len(records)}
        row |= Counter(outcomes.tolist())
        for name, values in parts.items():
            self._latencies[name].add(values)
            if len(values):
                row[f"{name}_seconds"] = {f"p{percent}": float(np.percentile(values, percent)) for percent in (50, 99)}
        return row
