"""The in-process tier: bounded by bytes, least recently used first, with a time to live."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.cache import memory
from modelyard.cache.memory import ENTRY_OVERHEAD, MemoryStore
from modelyard.cache.store import MISS, Row
from tests.unit.strategies import bytes_array, metric

SIZE = 2 * ENTRY_OVERHEAD + 100


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(memory, "time", clock)
    return clock


def row(size: int = 100) -> Row:
    return (np.zeros(size, np.uint8),)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_was_set_is_got_and_the_rest_misses() -> None:
    store = MemoryStore(10_000)
    kept = row()
    store.set(key(1), kept, 60)
    assert store.get(key(1)) is kept
    assert store.get(key(2)) is MISS


def test_the_least_recently_used_goes_first() -> None:
    store = MemoryStore(3 * SIZE)
    evictions = metric("cache_evictions_total")
    for number in (1, 2, 3):
        store.set(key(number), row(), 60)
    assert store.get(key(1)) is not MISS
    store.set(key(4), row(), 60)
    assert store.get(key(2)) is MISS
    assert [store.get(key(number)) is MISS for number in (1, 3, 4)] == [False] * 3
    assert metric("cache_evictions_total") == evictions + 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2000)), max_size=40))
def test_the_size_never_passes_the_bound_and_is_the_sum_of_what_is_held(fills: list[tuple[int, int]]) -> None:
    store = MemoryStore(4000)
    for number, size in fills:
        store.set(key(number), row(size), 60)
        assert store.size <= 4000
    held = [found for number in range(6) if (found := store.get(key(number))) is not MISS]
    assert store.size == sum(2 * ENTRY_OVERHEAD + found[0].nbytes for found in held)
    assert len(store) == len(held)


def test_a_row_expires_at_its_time_to_live(clock: Clock) -> None:
    store = MemoryStore(10_000)
    store.set(key(1), row(), 10)
    clock.now += 9.999
    assert store.get(key(1)) is not MISS
    clock.now += 0.001
    assert store.get(key(1)) is MISS
    assert (len(store), store.size) == (0, 0)


def test_a_row_set_again_lives_anew_and_is_counted_once(clock: Clock) -> None:
    store = MemoryStore(10_000)
    store.set(key(1), row(), 10)
    clock.now += 8
    store.set(key(1), row(200), 10)
    clock.now += 8
    assert store.get(key(1)) is not MISS
    assert store.size == SIZE + 100


def test_a_row_above_the_bound_is_dropped_and_pushes_nobody_out() -> None:
    store = MemoryStore(SIZE)
    store.set(key(1), row(), 60)
    dropped = metric("cache_errors_total", tier="memory", op="set", reason="dropped")
    store.set(key(2), row(101), 60)
    assert store.get(key(1)) is not MISS
    assert store.get(key(2)) is MISS
    assert metric("cache_errors_total", tier="memory", op="set", reason="dropped") == dropped + 1


def test_bytes_elements_are_counted_with_what_they_hold() -> None:
    store = MemoryStore(100_000)
    store.set(key(1), (bytes_array([b"x" * 50_000], (1,)),), 60)
    assert store.size > 50_000


def test_clear_and_delete_forget() -> None:
    store = MemoryStore(10_000)
    for number in (1, 2):
        store.set(key(number), row(), 60)
    store.delete(key(1))
    store.delete(key(1))
    assert (len(store), store.size) == (1, SIZE)
    store.clear()
    assert (len(store), store.size, store.get(key(2))) == (0, 0, MISS)
