"""The in-process tier: least recently used rows, bounded by bytes, each with its time to live.

Used from the event loop only, hence without a lock. Clock jumps do not matter: time is monotonic.
"""

import time
from collections import OrderedDict

from modelyard import metrics
from modelyard.cache.store import MISS, Key, Missing, Row
from modelyard.tensors import Array

ENTRY_OVERHEAD = 400
"""Bytes of an entry beside its arrays: key, tuple, dictionary slot; and about as much again for each array."""


class MemoryStore:
    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, tuple[Row, float, int]] = OrderedDict()
        self._bytes = 0
        self._metrics = metrics.MemoryMetrics()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes held now; never above the bound."""
        return self._bytes

    def get(self, key: Key) -> Row | Missing:
        entry = self._entries.get(key)
        if entry is None:
            return MISS
        row, expires, _ = entry
        if time.monotonic() >= expires:
            self.delete(key)
            return MISS
        self._entries.move_to_end(key)
        return row

    def set(self, key: Key, row: Row, ttl: float) -> None:
        """Keep a row; the arrays must not be changed afterwards. A row above the bound is dropped and counted."""
        size = ENTRY_OVERHEAD + sum(ENTRY_OVERHEAD + _size(array) for array in row)
        if size > self._max_bytes:
            metrics.cache_errors.labels("memory", "set", "dropped").inc()
            return
        self.delete(key)
        self._entries[key] = (row, time.monotonic() + ttl, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, (_, _, oldest) = self._entries.popitem(last=False)
            self._bytes -= oldest
            self._metrics.evictions.inc()
        self._metrics.bytes.set(self._bytes)

    def delete(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[2]

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0


def _size(array: Array) -> int:
    if array.dtype == object:
        return array.nbytes + sum(len(element) + 33 for element in array.ravel())
    return array.nbytes
