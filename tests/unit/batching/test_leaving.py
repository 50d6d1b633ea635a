"""Work that nobody waits for any more keeps nobody out, from the moment at which the last one left."""

from __future__ import annotations

import asyncio
import weakref

import numpy as np
import pytest

from tests.unit.batching.bench import Make


async def test_what_the_last_one_left_gives_its_room_back_at_once_and_is_not_run(bench: Make) -> None:
    b = bench(max_batch_size=2, row_seconds=100.0)
    held = await b.occupy()
    wanted = True
    dropped = b.submit(1, 2, wanted=lambda: wanted, nbytes=100)
    kept = b.submit(3, nbytes=10)
    item = b.items[1]
    item.leave()
    assert (b.batcher.queued_rows, b.batcher.queued_bytes) == (3, 110), "somebody still waits for it"
    before = b.batcher.estimated_wait()
    wanted = False
    item.leave()
    item.leave()
    assert (b.batcher.queued_rows, b.batcher.queued_bytes) == (1, 10)
    assert b.batcher.estimated_wait() == pytest.approx(before - 100, abs=10)
    b.gate.set()
    await asyncio.gather(held, kept)
    assert b.ran == [[0], [3]]
    assert not dropped.done()
    assert (b.batcher.queued_rows, b.batcher.queued_bytes) == (0, 0)


async def test_what_was_left_keeps_no_arrays_while_the_queue_stands(bench: Make) -> None:
    b = bench()
    held = await b.occupy()
    b.submit(1, wanted=lambda: False)
    array = weakref.ref(np.asarray(b.items[1].inputs[0]).base)
    assert array() is not None
    b.items[1].leave()
    assert array() is None
    b.gate.set()
    await held


async def test_leaving_a_batch_that_runs_changes_nothing_for_the_others(bench: Make) -> None:
    b = bench()
    b.gate.clear()
    wanted = True
    left, kept = b.submit(1, wanted=lambda: wanted), b.submit(2)
    await asyncio.sleep(0)
    assert await asyncio.to_thread(b.started.acquire, timeout=10)
    wanted = False
    b.items[0].leave()
    assert (b.batcher.queued_rows, b.batcher.queued_bytes) == (0, 0)
    b.gate.set()
    await asyncio.gather(left, kept)
    assert b.ran == [[1, 2]]


async def test_a_queue_that_everybody_left_lets_the_next_one_run(bench: Make) -> None:
    b = bench(max_batch_size=1)
    held = await b.occupy()
    for number in range(1, 4):
        b.submit(number, signature="left", wanted=lambda: False)
    for item in b.items[1:]:
        item.leave()
    b.gate.set()
    await held
    assert (await b.submit(9)) is not None
    assert b.ran == [[0], [9]]
