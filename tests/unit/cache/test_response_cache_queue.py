"""The cache and the queue behind it: what is queued follows those who wait for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from tests.unit.cache.fakes import Bench, settle


async def gone(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_queue_is_told_once_when_the_last_one_leaves() -> None:
    bench = Bench()
    leader, follower = bench.start(1, 2), bench.start(2, 1)
    await settle()
    (call,) = bench.model.calls
    await gone(leader)
    assert (call.left, call.wanted()) == (0, True)
    await gone(follower)
    assert (call.left, call.wanted()) == (1, False)


async def test_a_run_of_which_one_row_is_still_wanted_stays() -> None:
    bench = Bench()
    leader, follower = bench.start(1, 2), bench.start(2)
    await settle()
    (call,) = bench.model.calls
    await gone(leader)
    assert call.wanted(), "the queue asks, and keeps it"
    call.answer()
    assert await follower == ([20.0], ["join"])


async def test_who_leaves_after_the_answer_tells_nobody() -> None:
    bench = Bench()
    task = bench.start(1)
    await settle()
    bench.model.calls[0].answer()
    await task
    assert bench.model.calls[0].left == 0
