"""The cache and the queue behind it: what is queued follows those who wait for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from modelyard.errors import Overloaded
from tests.unit.cache.fakes import Bench, FakeRedis, settle


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


async def test_an_urgent_request_that_joins_makes_the_row_urgent() -> None:
    bench = Bench()
    tasks = [bench.start(1, 2), bench.start(2, priority=2)]
    await settle()
    (call,) = bench.model.calls
    urged = [call.urged]
    tasks.append(bench.start(2, priority=1))
    await settle()
    assert [*urged, call.urged] == [False, True]
    call.answer()
    await asyncio.gather(*tasks)


async def test_a_row_that_an_urgent_request_joined_before_it_was_queued_is_queued_as_urgent() -> None:
    redis = FakeRedis(hold=True)
    bench = Bench(redis=redis)
    tasks = [bench.start(1), bench.start(1, priority=1)]
    await settle()
    redis.answer()
    await settle()
    (call,) = bench.model.calls
    assert call.priority == 1
    call.answer()
    await asyncio.gather(*tasks)


async def test_only_rows_that_must_be_computed_have_to_be_admitted() -> None:
    bench = Bench()
    first = bench.start(1, 2)
    await settle()

    def refuse(_: int) -> None:
        raise Overloaded("full", 1)

    joined = asyncio.ensure_future(bench.infer(*bench.request(2), refuse, limit=60))
    await settle()
    with pytest.raises(Overloaded):
        await bench.infer(*bench.request(2, 3), refuse, limit=60)
    more = bench.start(1, 3, 3)
    await settle()
    assert bench.admitted == [2, 1]
    for call in bench.model.calls:
        call.answer()
    await asyncio.gather(first, more)
    assert (await joined)[1] == ["join"]
