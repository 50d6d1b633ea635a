"""A sample of requests and answers, kept as CloudEvents for whoever looks at them later.

    add   in the event loop: into a bounded list   ->   a thread: events   ->   a sink (sinks.py)

What does not fit into the list is dropped and counted, so is what a dead sink does not take: no request waits for it.
"""

import logging
import random
import threading
import time
from collections import Counter, deque
from typing import Protocol

from modelyard.drift_metrics import payloads_by_result
from modelyard.observing.events import Entry, Event, event_of

log = logging.getLogger("modelyard.payloads")

MOST_ENTRIES = 512
MOST_BYTES = 32 * 2**20
CLOSE_SECONDS = 3.0
RETRY_SECONDS = (1.0, 30.0)
"""How long a sink that failed is left alone: at first, and at the most."""


class Sink(Protocol):
    def write(self, events: list[Event]) -> None:
        """Raises OSError for events that could not be written; all of them count as failed."""

    def close(self) -> None: ...


class PayloadLog:
    def __init__(self, sink: Sink, ratio: float, source: str, namespace: str) -> None:
        """`ratio` of the requests is kept. `source` and `namespace`: of every event."""
        self._sink, self._ratio = sink, ratio
        self._source, self._namespace = source, namespace
        self._random = random.Random()  # noqa: S311  (a sample, no secret)
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._closing = False
        self._metrics = payloads_by_result()
        self._alone_until = 0.0
        self._pause = RETRY_SECONDS[0]
        self._thread = threading.Thread(target=self._run, name="payloads", daemon=True)
        self._thread.start()

    def wanted(self) -> bool:
        """Is this request one of the sample?"""
        return self._ratio >= 1 or self._random.random() < self._ratio

    def add(self, entry: Entry) -> None:
        size = entry.nbytes
        with self._lock:
            if len(self._entries) >= MOST_ENTRIES or self._bytes + size > MOST_BYTES:
                self._counts["dropped"] += 1
                return
            self._entries.append(entry)
            self._bytes += size
        self._news.set()

    def settle(self) -> None:
        """Counts of the thread become metrics, in the event loop."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        for result, count in counts.items():
            self._metrics[result].inc(count)

    def close(self) -> None:
        """Write what is left, for CLOSE_SECONDS at the most; what is left then is dropped."""
        self._closing = True
        self._news.set()
        self._thread.join(CLOSE_SECONDS)
        with self._lock:
            self._counts["dropped"] += len(self._entries)
            self._entries.clear()
        self.settle()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            with self._lock:
                entries, self._bytes = list(self._entries), 0
                self._entries.clear()
            for start in range(0, len(entries), 32):
                self._write(entries[start : start + 32])
            if self._closing and not self._entries:
                self._sink.close()
                return

    def _write(self, entries: list[Entry]) -> None:
        result = "failed"
        if time.monotonic() >= self._alone_until:
            try:
                self._sink.write([event_of(entry, self._source, self._namespace) for entry in entries])
            except Exception as error:
                self._leave_alone(error)
            else:
                result, self._pause = "written", RETRY_SECONDS[0]
        with self._lock:
            self._counts[result] += len(entries)

    def _leave_alone(self, error: Exception) -> None:
        log.warning(
            "the payload log takes nothing (%s): what comes within %g s is dropped", type(error).__name__, self._pause
        )
        self._alone_until = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, RETRY_SECONDS[1])
