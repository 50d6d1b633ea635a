"""The entries in Redis: what they carry, and that a spoiled or foreign one is never served."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration import scale_model
from tests.integration.calls import until
from tests.integration.harness import RedisServer, Server, redis_server, serve
from tests.integration.scale_model import (
    BATCH,
    all_keys,
    all_values,
    ask_scale,
    fill,
    import_scale,
    rows,
)

FLIPS = 160
HOUR_MS = 3600_000


@pytest.fixture(scope="module")
def redis_process() -> Iterator[RedisServer]:
    """One Redis for the file."""
    with redis_server() as server:
        yield server


@pytest.fixture
def store(redis_process: RedisServer) -> Iterator[redis.Redis]:
    """An empty Redis, as the test's own client sees it."""
    with redis.Redis(port=redis_process.port) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="module")
def server(redis_process: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of `scale`; no timeout can make a hit look like a miss."""
    folder = tmp_path_factory.mktemp("repository")
    import_scale(folder)
    environment = {"MODELYARD_REDIS_URL": redis_process.url, "MODELYARD_REDIS_TIMEOUT_SECONDS": "2"}
    with serve(folder, scale_model.NAME, environment) as running:
        yield running


def spoil(values: list[bytes]) -> list[bytes]:
    """Another value for each of `values`: cut, lengthened, foreign, of another row, or one bit changed."""
    value = values[0]
    spoiled = [
        b"",
        value[:1],
        value[: len(value) // 2],
        value[:-1],
        value + b"\0",
        value[1:],
        value + value,
        b"\xff" * len(value),
        b"\0" * len(value),
        os.urandom(64),
        b"\xff" * 5_000_000,
        json.dumps({"y": [1, 2, 3]}).encode(),
        values[1],
    ]
    for place, good in enumerate(values[len(spoiled) :]):
        flipped = bytearray(good)
        flipped[place % len(flipped)] ^= 1 << (place % 8)
        spoiled.append(bytes(flipped))
    return spoiled


def test_spoiled_entries_are_misses_counted_and_deleted(server: Server, store: redis.Redis) -> None:
    x = rows(2000, FLIPS + 13)
    fill(server, store, x)
    keys, values = all_keys(store), all_values(store)
    spoiled = spoil(values)
    assert len(values[-1]) <= FLIPS, "a bit of every byte is changed in one of the entries"
    assert all(bad != good for bad, good in zip(spoiled, values, strict=True))
    for key, bad in zip(keys, spoiled, strict=True):
        store.set(key, bad, keepttl=True)
    store.config_resetstat()
    before = server.metric("modelyard_cache_rows_total", model="scale", result="corrupt")
    for start in range(0, len(x), BATCH):
        assert ask_scale(server, x[start : start + BATCH]) == "miss"
    assert server.metric("modelyard_cache_rows_total", model="scale", result="corrupt") - before == len(x)
    until(lambda: deletions(store) > 0, "spoiled entries are deleted")
    until(lambda: all_values(store) == values, "the entries are written anew")
    assert ask_scale(server, x[:BATCH]) == "hit"


def deletions(store: redis.Redis) -> int:
    """Calls of commands that delete, since the statistics were reset."""
    commands: Any = store.info("commandstats")
    return sum(commands.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("del", "unlink", "getdel"))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_planted_pickle_is_never_loaded(server: Server, store: redis.Redis, tmp_path: Path) -> None:
    x = rows(3000, pickle.HIGHEST_PROTOCOL + 1)
    fill(server, store, x)
    mark = tmp_path / "loaded"
    for protocol, key in enumerate(all_keys(store)):
        store.set(key, pickle.dumps(Bomb(mark), protocol))
    assert ask_scale(server, x) == "miss"
    assert not mark.exists()


def test_a_key_of_another_redis_type_is_a_miss(server: Server, store: redis.Redis) -> None:
    x = rows(4000, 3)
    fill(server, store, x)
    for key in all_keys(store):
        store.delete(key)
        store.rpush(key, b"a list")
    assert ask_scale(server, x) == "miss"
    until(lambda: ask_scale(server, x) == "hit", "the keys are taken back")


def test_keys_carry_prefix_and_jittered_ttl(server: Server, store: redis.Redis) -> None:
    fill(server, store, rows(5000, 64))
    keys = all_keys(store)
    assert all(key.startswith(b"modelyard:") for key in keys)
    left: Any = [store.pttl(key) for key in keys]
    assert all(0.5 * HOUR_MS < milliseconds < 1.5 * HOUR_MS for milliseconds in left)
    assert max(left) - min(left) > 0.01 * HOUR_MS


def test_values_are_no_pickle(server: Server, store: redis.Redis) -> None:
    fill(server, store, rows(6000, 8))
    for stored in all_values(store):
        assert not is_pickle(stored)
        assert not any(mark in stored for mark in (b"numpy", b"ndarray", b"_reconstruct", b"copyreg"))


def is_pickle(data: bytes) -> bool:
    """Whether `data` reads as a pickle from its first byte on."""
    try:
        return bool(list(pickletools.genops(data)))
    except (ValueError, OverflowError):
        return False
