"""Priority 1 in the queue: what an urgent row waits for, and what becomes urgent while it waits."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.batching.bench import Make


async def test_an_urgent_row_waits_for_what_runs_and_for_the_urgent_ones_alone(bench: Make) -> None:
    b = bench(max_batch_size=1, row_seconds=100.0)
    assert b.batcher.estimated_wait(urgent=True) == 0
    held = await b.occupy()
    waiting = [b.submit(1), b.submit(2, priority=2), b.submit(3)]
    assert b.batcher.estimated_wait() == pytest.approx(400, abs=10)
    assert b.batcher.estimated_wait(urgent=True) == pytest.approx(100, abs=10)
    waiting.append(b.submit(4, priority=1))
    assert b.batcher.estimated_wait(urgent=True) == pytest.approx(200, abs=10)
    b.submit(5, priority=1, wanted=lambda: False)
    assert b.batcher.estimated_wait(urgent=True) == pytest.approx(300, abs=10)
    b.items[-1].leave()
    assert b.batcher.estimated_wait(urgent=True) == pytest.approx(200, abs=10)
    b.gate.set()
    await asyncio.gather(held, *waiting)
    assert b.batcher.estimated_wait() == b.batcher.estimated_wait(urgent=True) == 0


async def test_what_is_urged_while_it_waits_goes_before_the_others(bench: Make) -> None:
    b = bench(max_batch_size=1, row_seconds=100.0)
    held = await b.occupy()
    waiting = [b.submit(1), b.submit(2), b.submit(3, priority=1), b.submit(4)]
    for _ in range(2):
        b.items[2].urge()
    assert b.batcher.estimated_wait(urgent=True) == pytest.approx(300, abs=10)
    assert b.batcher.queued_rows == 4
    b.gate.set()
    await asyncio.gather(held, *waiting)
    assert b.ran == [[0], [3], [2], [1], [4]]
    assert b.batcher.queued_rows == b.batcher.estimated_wait(urgent=True) == 0


async def test_the_only_one_that_waits_is_urged(bench: Make) -> None:
    b = bench()
    held = await b.occupy()
    alone = b.submit(1)
    b.items[1].urge()
    b.gate.set()
    await asyncio.gather(held, alone)
    assert b.ran == [[0], [1]]


async def test_what_runs_already_or_was_left_is_not_urged(bench: Make) -> None:
    b = bench()
    held = await b.occupy()
    b.submit(1, wanted=lambda: False)
    b.items[1].leave()
    for item in b.items:
        item.urge()
    b.gate.set()
    await held
    assert b.batcher.queued_rows == b.batcher.estimated_wait(urgent=True) == 0
