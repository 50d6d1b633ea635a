"""Redis fails in every way it can: no client notices more than the cache timeout, and hits come back.

The bounds are wide, since these are tests of behaviour on a shared machine: the timeout of 20 ms plus 50 ms
for the median of many requests, and a second for the worst of them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest
import redis

from tests.integration import scale_model
from tests.integration.calls import Array, connect, until
from tests.integration.chaos_proxy import chaos_proxy, delaying
from tests.integration.harness import RedisServer, Server, free_port, redis_server, serve
from tests.integration.scale_model import ask_scale, import_scale, rows, timed

MEDIAN_SECONDS = 0.07
WORST_SECONDS = 1.0
RESUME_SECONDS = 5.0
POLL_SECONDS = 1.0
"""What the test itself may take to see that hits are back."""

_numbers = itertools.count(1000, 1000)


def fresh(count: int) -> Array:
    """Rows that nobody asked for yet."""
    return rows(next(_numbers), count)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `scale`."""
    folder = tmp_path_factory.mktemp("repository")
    import_scale(folder)
    return folder


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    """The Redis that fails."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def shared(repository: Path, store: RedisServer) -> Iterator[Server]:
    """A server that uses this Redis with the default timeout."""
    with serve(repository, scale_model.NAME, {"MODELYARD_REDIS_URL": store.url}) as running:
        yield running


@pytest.fixture
def server(shared: Server) -> Server:
    """The server, with hits from Redis before the test breaks something."""
    hits_resume(shared)
    return shared


@pytest.fixture
def client(store: RedisServer) -> Iterator[redis.Redis]:
    """The test's own connection to Redis."""
    with redis.Redis(port=store.port) as connection:
        yield connection


def hits_resume(server: Server) -> None:
    """A row that was asked before is answered from Redis again, soon enough."""
    x = fresh(1)
    until(lambda: ask_scale(server, x) == "hit", "hits resume after the fault", RESUME_SECONDS + POLL_SECONDS)
    until(lambda: server.metric("modelyard_cache_up") == 1, "cache_up is 1 again", POLL_SECONDS)


def seconds_of(server: Server, count: int, protocol: str = "http") -> list[float]:
    """How long each of `count` fresh rows takes, one after the other on one connection."""
    x = fresh(count)

    async def body() -> list[float]:
        async with connect(server, protocol) as connection:
            await timed(connection, fresh(1))
            return [await timed(connection, x[index : index + 1]) for index in range(count)]

    return asyncio.run(body())


def serves_without_redis(server: Server, count: int = 40) -> None:
    """Every request is answered right and hardly later than with Redis, and the server stays ready."""
    for protocol in ("http", "grpc"):
        seconds = seconds_of(server, count, protocol)
        assert median(seconds) < MEDIAN_SECONDS
        assert max(seconds) < WORST_SECONDS
    assert server.status("/readyz") == 200
    assert server.status("/v2/health/ready") == 200


def errors(server: Server) -> float:
    """All failed operations of the Redis tier so far."""
    return server.metric("modelyard_cache_errors_total", tier="redis")


def test_redis_never_there(repository: Path) -> None:
    port = free_port()
    with serve(repository, scale_model.NAME, {"MODELYARD_REDIS_URL": f"redis://127.0.0.1:{port}/0"}) as server:
        serves_without_redis(server)
        until(lambda: server.metric("modelyard_cache_up") == 0, "cache_up is 0")
        assert errors(server) > 0
        with redis_server(port):
            hits_resume(server)


def test_redis_stopped_and_started(server: Server, store: RedisServer) -> None:
    store.stop()
    try:
        serves_without_redis(server)
        until(lambda: server.metric("modelyard_cache_up") == 0, "cache_up is 0")
        assert errors(server) > 0
    finally:
        store.start()
    hits_resume(server)


def test_redis_hung(server: Server, store: RedisServer) -> None:
    known = fresh(1)
    until(lambda: ask_scale(server, known) == "hit", "a hit")
    store.pause()
    try:
        serves_without_redis(server)
        until(lambda: server.metric("modelyard_cache_up") == 0, "cache_up is 0")
        assert server.metric("modelyard_cache_errors_total", tier="redis", reason="timeout") > 0
        assert ask_scale(server, known) != "hit"
    finally:
        store.resume()
    hits_resume(server)
    assert ask_scale(server, known) == "hit"


def test_redis_paused_by_a_client(server: Server, client: redis.Redis) -> None:
    client.client_pause(1500)
    serves_without_redis(server)
    hits_resume(server)


def test_out_of_memory_drops_writes(server: Server, client: redis.Redis) -> None:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1mb")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        fill_up(client)
    while_writes_fail(server, lambda: client.config_set("maxmemory", "0"))


def fill_up(client: redis.Redis) -> None:
    """Write until Redis takes no more."""
    for index in range(100):
        client.set(f"ballast-{index}", b"x" * 65536)


def test_a_read_only_replica_drops_writes(server: Server, client: redis.Redis) -> None:
    client.replicaof("127.0.0.1", str(free_port()))
    while_writes_fail(server, lambda: client.replicaof("NO", "ONE"))


def test_a_password_set_at_run_time(server: Server, store: RedisServer) -> None:
    with redis.Redis(port=store.port) as client:
        client.config_set("requirepass", "a-secret")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        while_writes_fail(server, lambda: client.config_set("requirepass", ""))


def while_writes_fail(server: Server, mend: Callable[[], object]) -> None:
    """Redis refuses: requests are answered right, the errors are counted, `mend` brings hits back."""
    before = errors(server)
    try:
        serves_without_redis(server)
        until(lambda: errors(server) > before, "errors of the Redis tier are counted")
    finally:
        mend()
    hits_resume(server)


def test_a_known_row_is_read_while_redis_takes_no_writes(server: Server, client: redis.Redis) -> None:
    known = fresh(1)
    until(lambda: ask_scale(server, known) == "hit", "a hit")
    client.replicaof("127.0.0.1", str(free_port()))
    try:
        assert ask_scale(server, known) == "hit"
    finally:
        client.replicaof("NO", "ONE")
    hits_resume(server)


def test_a_request_waits_one_timeout_at_most_and_then_the_breaker_opens(repository: Path, store: RedisServer) -> None:
    """Not one timeout for each row or caller; and once Redis is known to hang, nobody waits for it at all."""
    timeout = 0.4
    with chaos_proxy(store.port) as proxy:
        environment = {"MODELYARD_REDIS_URL": proxy.url, "MODELYARD_REDIS_TIMEOUT_SECONDS": str(timeout)}
        with serve(repository, scale_model.NAME, environment) as server:
            hits_resume(server)
            proxy.fault = delaying(60, 60)
            assert max(seconds_together(server, 8, 32)) < timeout + WORST_SECONDS
            seconds = seconds_of(server, 60)
            assert median(seconds) < timeout / 2
            assert max(seconds) < timeout + WORST_SECONDS


def seconds_together(server: Server, callers: int, count: int) -> list[float]:
    """How long each of `callers` simultaneous requests with `count` fresh rows takes."""

    async def body() -> list[float]:
        async with connect(server, "grpc") as connection:
            return list(await asyncio.gather(*(timed(connection, fresh(count)) for _ in range(callers))))

    return asyncio.run(body())
