"""A tier that does not pay is left alone, and tried again after its rest."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.cache import response_cache
from modelyard.cache.key import row_keys
from modelyard.cache.response_cache import ResponseCache
from modelyard.cache.worth import EVIDENCE, REST, PerRow
from tests.unit.cache.fakes import Bench, FakeRedis, settle
from tests.unit.clock import Clock

CHEAP = 1e-9
"""Seconds of a row of a model that is worth no look-up."""


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that the cache sees."""
    clock = Clock()
    monkeypatch.setattr(response_cache, "time", clock)
    return clock


def cost(seconds: float) -> PerRow:
    made = PerRow()
    made.add(seconds, 1)
    made.settle()
    return made


def watch(cache: ResponseCache, **look_ups: float) -> None:
    """As if each tier had been asked long enough, at these seconds a row, and had known none."""
    for tier, seconds in look_ups.items():
        cache.tiers[tier].asked(2 * EVIDENCE, round(2 * EVIDENCE / seconds))


def keep_out(bench: Bench, *tiers: str) -> None:
    """A model of a millisecond: too cheap for a tier of half a second, dear beside one of a microsecond."""
    watch(bench.cache, **{tier: 0.5 if tier in tiers else 1e-6 for tier in bench.cache.tiers})
    bench.cache.review(cost(1e-3))
    assert {tier for tier, worth in bench.cache.tiers.items() if not worth.admitted} == set(tiers)
    assert bench.cache.pays == (len(tiers) < len(bench.cache.tiers))


async def answered(bench: Bench, *rows: float) -> tuple[list[float], list[str]]:
    """Ask, and let the model compute whatever it is given."""
    known = len(bench.model.calls)
    task = bench.start(*rows)
    await settle()
    for call in bench.model.calls[known:]:
        call.answer()
    return await task


def stored(bench: Bench) -> int:
    assert bench.memory is not None
    return len(bench.memory)


async def test_a_cheap_model_leaves_memory_out_neither_asked_nor_filled() -> None:
    bench = Bench(factor=10)
    assert await answered(bench, 1) == ([10.0], ["miss"])
    keep_out(bench, "memory")
    assert not bench.cache.pays
    assert await answered(bench, 1, 2) == ([10.0, 20.0], ["miss", "miss"]), "known, but not asked for"
    assert stored(bench) == 1
    assert bench.admitted == [1, 2]


async def test_a_tier_comes_back_for_a_trial(clock: Clock) -> None:
    bench = Bench(factor=10)
    await answered(bench, 1)
    keep_out(bench, "memory")
    pays = []
    for rests in (0.9, 0.2):
        clock.now += rests * REST
        bench.cache.review(cost(CHEAP))
        pays.append(bench.cache.pays)
    assert pays == [False, True]
    assert await answered(bench, 1, 2) == ([10.0, 20.0], ["hit_memory", "miss"])
    assert await answered(bench, 2) == ([20.0], ["hit_memory"])


async def test_redis_may_be_left_out_alone() -> None:
    redis = FakeRedis()
    bench = Bench(redis=redis, factor=10)
    await answered(bench, 1)
    keep_out(bench, "redis")
    asked, entries = len(redis.asked), dict(redis.entries)
    assert bench.cache.pays
    assert await answered(bench, 1, 2) == ([10.0, 20.0], ["hit_memory", "miss"])
    assert (len(redis.asked), redis.entries) == (asked, entries)
    assert await answered(bench, 2) == ([20.0], ["hit_memory"]), "memory is filled as ever"


async def test_memory_may_be_left_out_alone() -> None:
    redis = FakeRedis()
    bench = Bench(redis=redis, factor=10)
    keep_out(bench, "memory")
    assert bench.cache.pays
    assert await answered(bench, 1) == ([10.0], ["miss"])
    assert await answered(bench, 1) == ([10.0], ["hit_redis"])
    assert stored(bench) == 0, "neither by the model nor by what Redis knew"


async def test_both_tiers_left_out_and_back_again(clock: Clock) -> None:
    redis = FakeRedis()
    bench = Bench(redis=redis, factor=10)
    keep_out(bench, "memory", "redis")
    await answered(bench, 1)
    assert (len(redis.asked), redis.entries, stored(bench)) == (0, {}, 0)
    clock.now += 2 * REST
    bench.cache.review(cost(CHEAP))
    await answered(bench, 1)
    assert (len(redis.asked), len(redis.entries), stored(bench)) == (1, 1, 1)


async def test_what_is_on_its_way_when_a_tier_is_left_out_still_counts() -> None:
    redis = FakeRedis()
    await answered(Bench(memory=False, redis=redis), 1)
    redis.hold = True
    bench = Bench(redis=redis, factor=10)
    task = bench.start(1, 2)
    await settle()
    keep_out(bench, "memory", "redis")
    redis.answer()
    await settle()
    bench.model.calls[0].answer()
    assert await task == ([10.0, 20.0], ["hit_redis", "miss"])
    assert (len(redis.entries), stored(bench)) == (1, 0)


async def test_equal_rows_join_while_no_tier_is_asked() -> None:
    bench = Bench(factor=10)
    keep_out(bench, "memory")
    tasks = [bench.start(1), bench.start(1)]
    await settle()
    assert len(bench.model.calls) == 1
    bench.model.calls[0].answer()
    assert [await task for task in tasks] == [([10.0], ["miss"]), ([10.0], ["join"])]


@pytest.mark.parametrize("memory", [True, False])
async def test_factor_0_keeps_every_tier(memory: bool) -> None:
    bench = Bench(memory=memory, redis=FakeRedis())
    watch(bench.cache, **dict.fromkeys(bench.cache.tiers, EVIDENCE))
    bench.cache.review(cost(CHEAP))
    assert bench.cache.pays
    assert all(worth.admitted for worth in bench.cache.tiers.values())


async def test_without_any_tier_joining_alone_is_worth_it() -> None:
    bench = Bench(memory=False, factor=10)
    bench.cache.review(cost(CHEAP))
    assert bench.cache.pays
    assert bench.cache.tiers == {}


async def test_nothing_is_decided_without_evidence() -> None:
    bench = Bench(redis=FakeRedis(), factor=1e9)
    await answered(bench, 1)
    bench.cache.review(cost(CHEAP))
    bench.cache.review(PerRow())
    assert all(worth.admitted for worth in bench.cache.tiers.values())


# --- what a look-up costs ---------------------------------------------------------------------------------------------


def rows_and_seconds(bench: Bench, tier: str) -> tuple[int, float]:
    look_up = bench.cache.tiers[tier].look_up
    look_up.settle()
    return look_up.rows, look_up.value


async def test_each_row_of_a_request_is_a_look_up_in_memory() -> None:
    bench = Bench(factor=10)
    await answered(bench, 1, 2, 3)
    assert rows_and_seconds(bench, "memory")[0] == 3
    await answered(bench, 1, 2, 3, 4)
    rows, seconds = rows_and_seconds(bench, "memory")
    assert rows == 7
    assert 0 < seconds < 1


async def test_only_the_rows_that_redis_is_asked_for_are_look_ups_there() -> None:
    redis = FakeRedis()
    bench = Bench(redis=redis, factor=10)
    await answered(bench, 1, 2)
    await answered(bench, 2, 3)
    rows, seconds = rows_and_seconds(bench, "redis")
    assert rows == 3
    assert seconds > redis.seconds_per_key + redis.seconds_per_entry, "the fill has its price, too"


async def test_a_row_that_redis_knew_costs_what_redis_says(clock: Clock) -> None:
    redis = FakeRedis()
    await answered(Bench(memory=False, redis=redis), 1, 2)
    bench = Bench(redis=redis, factor=10)
    await answered(bench, 1, 2)
    rows, seconds = rows_and_seconds(bench, "redis")
    assert rows == 2
    assert seconds == pytest.approx(redis.seconds_per_key)


@pytest.mark.parametrize("memory", [True, False])
async def test_keys_are_the_price_of_the_first_tier_that_is_asked(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, memory: bool
) -> None:
    def slow_keys(*request: Any) -> list[bytes]:
        clock.now += 3.0
        return row_keys(*request)

    monkeypatch.setattr(response_cache, "row_keys", slow_keys)
    redis = FakeRedis()
    bench = Bench(redis=redis, factor=10)
    if not memory:
        keep_out(bench, "memory")
    bench.cache.tiers["redis"].look_up = PerRow()
    await answered(bench, 1)
    of_redis = redis.seconds_per_key + redis.seconds_per_entry
    assert rows_and_seconds(bench, "redis")[1] == pytest.approx(of_redis + (0.0 if memory else 3.0))
    if memory:
        assert rows_and_seconds(bench, "memory")[1] == pytest.approx(3.0)


async def test_what_a_tier_knew_counts_for_it() -> None:
    """A tier that costs half of the model and knows every row stays; of memory's misses only Redis's hits are its."""
    redis = FakeRedis()
    await answered(Bench(memory=False, redis=redis), 1, 2)
    bench = Bench(redis=redis, factor=1e6)
    for _ in range(3):
        await answered(bench, 1, 2)
    for worth in bench.cache.tiers.values():
        worth.asked(EVIDENCE, 0)
    dear = 2 * max(worth.look_up.pending / worth.look_up.pending_rows for worth in bench.cache.tiers.values())
    bench.cache.review(cost(dear))
    assert {tier: worth.admitted for tier, worth in bench.cache.tiers.items()} == {"memory": True, "redis": True}
    assert [worth.look_up.rows for worth in bench.cache.tiers.values()] == [6, 2]


async def test_only_the_caches_own_work_is_its_price(clock: Clock) -> None:
    """A look-up ends when the rows are handed on, a fill begins when they come back: the model runs in between."""
    bench = Bench(redis=FakeRedis(), factor=10)
    for seconds in (5.0, 7.0):
        task = bench.start(seconds)
        await settle()
        clock.now += seconds
        bench.model.calls[-1].answer()
        await task
    assert rows_and_seconds(bench, "memory") == (2, 0.0)
    assert rows_and_seconds(bench, "redis")[1] == pytest.approx(3e-6), "a look-up and a fill"
