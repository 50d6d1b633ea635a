"""The second tier beneath the cache: late, wrong, corrupt, down, and never in the way."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from modelyard.cache.codec import decode
from modelyard.cache.key import row_keys
from modelyard.cache.store import MISS
from tests.unit.cache.fakes import MODEL, Bench, FakeRedis, settle
from tests.unit.strategies import metric


def key_of(bench: Bench, row: float) -> bytes:
    inputs, signature = bench.request(row)
    return row_keys(MODEL, "digest", signature, inputs, bench.batched)[0]


async def fill(redis: FakeRedis, *rows: float) -> None:
    """Another replica computes and writes."""
    other = Bench(memory=False, redis=redis)
    task = other.start(*rows)
    await settle()
    other.model.calls[-1].answer()
    await task


async def test_what_one_replica_computed_another_finds() -> None:
    redis = FakeRedis()
    await fill(redis, 1, 2)
    assert redis.ttl == 60.0
    bench = Bench(redis=redis)
    assert await bench.ask(1, 2) == ([10.0, 20.0], ["hit_redis", "hit_redis"])
    assert not bench.model.calls
    assert await bench.ask(1) == ([10.0], ["hit_memory"])


async def test_only_the_rows_that_no_tier_knows_are_computed() -> None:
    redis = FakeRedis()
    await fill(redis, 2)
    bench = Bench(redis=redis)
    task = bench.start(1, 2, 3)
    await settle()
    assert bench.model.calls[0].inputs == [[1.0], [3.0]]
    bench.model.calls[0].answer()
    assert await task == ([10.0, 20.0, 30.0], ["miss", "hit_redis", "miss"])


async def test_one_look_up_asks_for_all_unknown_rows_of_a_request() -> None:
    redis = FakeRedis(hold=True)
    bench = Bench(redis=redis)
    task = bench.start(1, 2, 3)
    await settle()
    assert [len(keys) for keys, _ in redis.asked] == [3]
    task.cancel()


async def test_equal_rows_join_while_redis_is_asked() -> None:
    redis = FakeRedis(hold=True)
    bench = Bench(redis=redis)
    tasks = [bench.start(1), bench.start(1)]
    await settle()
    assert len(redis.asked) == 1
    redis.answer()
    await settle()
    assert len(bench.model.calls) == 1
    bench.model.calls[0].answer()
    assert [result for _, (result,) in await asyncio.gather(*tasks)] == ["miss", "join"]


async def test_a_corrupt_entry_is_computed_counted_and_overwritten() -> None:
    redis = FakeRedis()
    bench = Bench(redis=redis)
    key = key_of(bench, 1)
    redis.entries[key] = b"not an entry"
    corrupt = metric("cache_rows_total", model=MODEL, result="corrupt")
    task = bench.start(1)
    await settle()
    assert key not in redis.entries
    bench.model.calls[0].answer()
    assert await task == ([10.0], ["miss"])
    assert metric("cache_rows_total", model=MODEL, result="corrupt") == corrupt + 1
    row = decode(key, [("y", "FP32")], redis.entries[key])
    assert row is not MISS
    assert row[0].tolist() == [10.0]


async def test_the_entry_of_another_row_under_a_rows_key_is_not_believed() -> None:
    redis = FakeRedis()
    await fill(redis, 1)
    bench = Bench(redis=redis)
    redis.entries[key_of(bench, 2)] = redis.entries[key_of(bench, 1)]
    task = bench.start(2)
    await settle()
    bench.model.calls[0].answer()
    assert (await task)[0] == [20.0]


async def test_a_late_answer_for_a_row_that_everybody_left_harms_nobody() -> None:
    redis = FakeRedis(hold=True)
    bench = Bench(redis=redis)
    gone = bench.start(1)
    await settle()
    gone.cancel()
    await settle()
    again = bench.start(1)
    await settle()
    assert len(redis.asked) == 2
    redis.answer()
    await settle()
    (call,) = bench.model.calls  # what nobody wants takes no room in the queue
    call.answer()
    assert (await again)[0] == [10.0]


async def test_a_leader_cancelled_while_redis_is_asked_leaves_its_followers_served() -> None:
    redis = FakeRedis(hold=True)
    bench = Bench(redis=redis)
    leader, follower = bench.start(1), bench.start(1)
    await settle()
    leader.cancel()
    await settle()
    redis.answer()
    await settle()
    bench.model.calls[0].answer()
    assert (await follower)[0] == [10.0]


async def test_a_cancelled_look_up_is_a_miss() -> None:
    redis = FakeRedis(hold=True)
    bench = Bench(redis=redis)
    task = bench.start(1)
    await settle()
    redis.asked[0][1].cancel()
    await settle()
    bench.model.calls[0].answer()
    assert await task == ([10.0], ["miss"])


async def test_a_tier_that_is_down_is_neither_asked_nor_written() -> None:
    redis = FakeRedis()
    redis.go_down()
    bench = Bench(redis=redis)
    task = bench.start(1)
    await settle()
    bench.model.calls[0].answer()
    assert await task == ([10.0], ["miss"])
    assert not redis.asked
    assert not redis.entries


async def test_a_row_that_is_no_number_is_not_written() -> None:
    redis = FakeRedis()
    bench = Bench(redis=redis)
    task = bench.start(1, 2)
    await settle()
    bench.model.calls[0].answer([np.array([[np.nan], [1.0]], np.float32)])
    await task
    assert set(redis.entries) == {key_of(bench, 2)}


@pytest.mark.parametrize("reply", [[1, 2], [], [b"", None, None]])
async def test_a_reply_that_is_none_is_computed(reply: list[Any]) -> None:
    """Whatever stands at the other end: a fault of the cache is never one of the request."""
    redis = FakeRedis(hold=True)
    bench = Bench(redis=redis)
    task = bench.start(1, 2)
    await settle()
    redis.asked[0][1].set_result(reply)
    await settle()
    for call in bench.model.calls:
        call.answer()
    assert (await task)[0] == [10.0, 20.0]
