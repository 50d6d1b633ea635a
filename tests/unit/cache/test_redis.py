"""The second tier against a real redis-server: entries, times to live, and a server that comes and goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from modelyard.cache import redis as module
from modelyard.cache.redis import TTL_JITTER, RedisStore
from modelyard.cache.store import MISS
from modelyard.errors import ConfigurationError
from tests.integration.redis_process import RedisServer, redis_server
from tests.unit.strategies import metric

PREFIX = "unit:"
PATIENT = 2.0
"""Far above what a busy machine needs for one round trip."""


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(name="client")
def _client(server: RedisServer) -> Iterator[Any]:
    with Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture(name="store")
async def _store(server: RedisServer, client: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisStore]:
    monkeypatch.setattr(module, "PROBE_SECONDS", (0.02,))
    monkeypatch.setattr(module, "FIRST_PROBE_SECONDS", 10.0)
    store = RedisStore(server.url, PREFIX, PATIENT)
    await store.start()
    assert store.up
    yield store
    await store.close()


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (what happens is in another process)
            await asyncio.sleep(0.005)


async def test_what_is_written_is_read_by_all(store: RedisStore, client: Any) -> None:
    entries = {key(number): b"%d" % number for number in range(1000)}
    store.set(entries, 60)
    await until(lambda: client.dbsize() == 1000)
    assert await store.get([*entries]) == [*entries.values()]
    assert await store.get([key(5000), key(1)]) == [MISS, b"1"]


async def test_many_look_ups_at_once_each_get_their_own(store: RedisStore, client: Any) -> None:
    store.set({key(number): b"%d" % number for number in range(0, 200, 2)}, 60)
    await until(lambda: client.dbsize() == 100)
    calls = client.info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"]
    answers = await asyncio.gather(*(store.get([key(n), key(n + 1)]) for n in range(0, 200, 2)))
    assert answers == [[b"%d" % n, MISS] for n in range(0, 200, 2)]
    assert client.info("commandstats")["cmdstat_mget"]["calls"] - calls <= 2


async def test_entries_live_as_long_as_they_should_and_do_not_end_together(store: RedisStore, client: Any) -> None:
    store.set({key(number): b"x" for number in range(50)}, 100)
    await until(lambda: client.dbsize() == 50)
    lives = [client.pttl(name) / 1000 for name in client.keys(PREFIX + "*")]
    assert len(lives) == 50
    assert all(100 - 5 < life <= 100 * (1 + TTL_JITTER) for life in lives)
    assert max(lives) - min(lives) > 1


async def test_deleted_entries_are_gone(store: RedisStore, client: Any) -> None:
    store.set({key(1): b"x", key(2): b"y"}, 60)
    store.delete([key(1)])
    await until(lambda: client.dbsize() == 1)
    assert await store.get([key(1), key(2)]) == [MISS, b"y"]


async def test_a_server_that_goes_is_bypassed_and_one_that_comes_is_used(
    store: RedisStore, server: RedisServer, client: Any
) -> None:
    server.stop()
    dropped = metric("cache_errors_total", tier="redis", op="set", reason="dropped")
    try:
        assert await store.get([key(1)]) == [MISS]
        await until(lambda: not store.up)
        assert metric("cache_up") == 0
        store.set({key(1): b"x"}, 60)
        assert metric("cache_errors_total", tier="redis", op="set", reason="dropped") == dropped + 1
        assert await store.get([key(1)]) == [MISS]
    finally:
        server.start()
    await until(lambda: store.up)
    assert metric("cache_up") == 1
    store.set({key(1): b"x"}, 60)
    await until(lambda: client.dbsize() == 1)
    assert await store.get([key(1)]) == [b"x"]


async def test_a_server_that_hangs_delays_a_look_up_by_the_timeout_and_only_once(
    server: RedisServer, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PROBE_SECONDS", 10.0)
    store = RedisStore(server.url, PREFIX, 0.05)
    await store.start()
    client.set(PREFIX + key(1).hex(), b"x")
    timeouts = metric("cache_errors_total", tier="redis", op="get", reason="timeout")
    server.pause()
    try:
        async with asyncio.timeout(5):
            assert await store.get([key(1)]) == [MISS]
            await until(lambda: not store.up)
    finally:
        server.resume()
    assert metric("cache_errors_total", tier="redis", op="get", reason="timeout") == timeouts + 1
    await until(lambda: store.up)
    await store.close()


async def test_a_full_server_refuses_writes_and_still_answers_reads(store: RedisStore, client: Any) -> None:
    client.set(PREFIX + key(1).hex(), b"x")
    refused = metric("cache_errors_total", tier="redis", op="set", reason="response")
    client.config_set("maxmemory", "1")
    try:
        store.set({key(2): b"y"}, 60)
        await until(lambda: metric("cache_errors_total", tier="redis", op="set", reason="response") == refused + 1)
        assert store.up
        assert await store.get([key(1), key(2)]) == [b"x", MISS]
    finally:
        client.config_set("maxmemory", "0")


async def test_a_key_of_another_kind_is_a_miss(store: RedisStore, client: Any) -> None:
    client.lpush(PREFIX + key(1).hex(), b"x")
    assert await store.get([key(1)]) == [MISS]
    assert store.up


async def test_a_start_without_redis_is_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server() as gone:
        url = gone.url
    store = RedisStore(url, PREFIX, PATIENT)
    await store.start()
    assert not store.up
    assert await store.get([key(1)]) == [MISS]
    await store.close()


@pytest.mark.parametrize("url", ["nonsense", "http://h", "redis://:pa/ss-word@host:x"])
async def test_a_wrong_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError, match="MODELYARD_REDIS_URL") as caught:
        RedisStore(url, PREFIX, PATIENT)
    assert "nonsense" not in str(caught.value)
    assert "ss-word" not in str(caught.value)


async def test_a_loop_that_stalls_is_no_fault_of_redis(server: RedisServer, client: Any) -> None:
    """Longer than the timeout, while the reply lies in the socket: it is read, and the tier stays up."""
    store = RedisStore(server.url, PREFIX, 0.1)
    await store.start()
    client.set(PREFIX + key(1).hex(), b"x")
    for turns in range(4):
        look_up = store.get([key(1)])
        for _ in range(turns):
            await asyncio.sleep(0)
        time.sleep(0.15)  # noqa: ASYNC251  (the stall)
        assert await look_up == [b"x"]
        assert store.up
    await store.close()


async def test_what_look_ups_and_writes_cost_is_measured(store: RedisStore) -> None:
    assert (store.seconds_per_key, store.seconds_per_entry) == (0.0, 0.0)
    await store.get([key(1)])
    store.set({key(1): b"x"}, 60)
    await until(lambda: store.seconds_per_entry > 0)
    assert 0 < store.seconds_per_key < PATIENT
    assert store.seconds_per_entry < PATIENT
