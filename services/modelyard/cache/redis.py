"""The second tier: Redis, shared by all replicas, and never in the way.

    get: look-ups of one loop tick become one MGET, bounded by one timeout
    set: written behind by one pipeline per batch, bounded in number
    down: the first failure of a read bypasses the tier; a background probe brings it back (breaker)

Nothing here raises into a request. A timeout closes the connection (redis-py does so on cancellation), so that a late
reply cannot be taken for another request's; entries repeat their key all the same.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from modelyard import metrics
from modelyard.cache.store import MISS, Key, Missing

log = logging.getLogger("modelyard.cache")

PROBE_SECONDS = (0.1, 0.25, 0.5, 1.0)
"""Waits between probes of a tier that is down; the last one repeats."""
FIRST_PROBE_SECONDS = 0.5
"""How long a start waits for Redis; the service becomes ready without it."""
MAX_PENDING_WRITES = 256
TTL_JITTER = 0.1
"""Entries live up to this share longer, so that a burst of fills does not expire as a burst of misses."""


class RedisStore:
    def __init__(self, url: str, prefix: str, timeout: float) -> None:
        """`url` may hold a password: it is never logged."""
        self._prefix = prefix.encode()
        self._timeout = timeout
        self._client: Redis = Redis.from_url(
            url,
            socket_timeout=max(timeout * 4, 0.25),
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),
            max_connections=64,
        )
        self._up = False
        self._waiting: list[tuple[Sequence[Key], asyncio.Future[list[bytes | Missing]]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._prober: asyncio.Task[None] | None = None
        metrics.cache_up.set(0)

    @property
    def up(self) -> bool:
        return self._up

    async def start(self) -> None:
        """Try Redis once, briefly; afterwards a probe runs whenever it is down."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_PROBE_SECONDS):
                await self.ping()
        if not self._up:
            log.warning("redis cannot be reached; serving with the memory tier alone")
            self._probe()

    def get(self, keys: Sequence[Key]) -> asyncio.Future[list[bytes | Missing]]:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        future: asyncio.Future[list[bytes | Missing]] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, future))
        return future

    def set(self, entries: Mapping[Key, bytes], ttl: float) -> None:
        async def write() -> None:
            async with self._client.pipeline(transaction=False) as pipeline:
                for key, entry in entries.items():
                    pipeline.set(self._prefix + key.hex().encode(), entry, px=_with_jitter(ttl))
                await pipeline.execute()

        self._write_behind("set", write, len(entries))

    def delete(self, keys: Sequence[Key]) -> None:
        async def forget() -> None:
            await self._client.delete(*(self._prefix + key.hex().encode() for key in keys))

        self._write_behind("set", forget, len(keys))

    async def ping(self) -> bool:
        """Ask Redis; brings the tier up when it answers."""
        try:
            async with self._operation("ping"):
                answer: Awaitable[bool] | bool = self._client.ping()
                if not isinstance(answer, bool):
                    await answer
        except (RedisError, OSError, TimeoutError):
            return False
        if not self._up:
            self._up = True
            metrics.cache_up.set(1)
            log.info("redis is in use")
        return True

    async def close(self) -> None:
        self._set_down()
        tasks = [*self._tasks, *([self._prober] if self._prober else [])]
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._run(self._look_up(waiting))

    async def _look_up(self, waiting: list[tuple[Sequence[Key], asyncio.Future[list[bytes | Missing]]]]) -> None:
        names = [self._prefix + key.hex().encode() for keys, _ in waiting for key in keys]
        found: Sequence[Any] = [None] * len(names)
        if self._up:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with self._operation("get"), asyncio.timeout(self._timeout):
                    found = await self._client.mget(names)
        position = 0
        for keys, future in waiting:
            part = found[position : position + len(keys)]
            position += len(keys)
            if not future.done():
                future.set_result([MISS if entry is None else entry for entry in part])

    def _write_behind(self, op: str, work: Callable[[], Awaitable[None]], rows: int) -> None:
        if not self._up or len(self._tasks) >= MAX_PENDING_WRITES:
            metrics.cache_errors.labels("redis", op, "dropped").inc(rows)
            return

        async def run() -> None:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with self._operation(op), asyncio.timeout(max(self._timeout * 4, 0.25)):
                    await work()

        self._run(run())

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.asynccontextmanager
    async def _operation(self, op: str) -> AsyncIterator[None]:
        """Time the work and count what fails; a tier that cannot be read, or hangs, goes down."""
        started = time.perf_counter()
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            reason = _reason(error)
            metrics.cache_errors.labels("redis", op, reason).inc()
            if reason != "response" or op != "set":  # OOM and READONLY refuse writes, reads still answer
                self._fail(reason)
            raise
        finally:
            metrics.cache_operation_duration.labels("redis", op).observe(time.perf_counter() - started)

    def _fail(self, reason: str) -> None:
        if self._up:
            log.warning("redis failed (%s); bypassed until it answers again", reason)
            self._set_down()
            self._probe()

    def _set_down(self) -> None:
        self._up = False
        metrics.cache_up.set(0)

    def _probe(self) -> None:
        if self._prober is None or self._prober.done():
            self._prober = asyncio.get_running_loop().create_task(self._probe_until_up())

    async def _probe_until_up(self) -> None:
        attempt = 0
        while True:
            await asyncio.sleep(PROBE_SECONDS[min(attempt, len(PROBE_SECONDS) - 1)])
            attempt += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    if await self.ping():
                        return


def _with_jitter(ttl: float) -> int:
    """Milliseconds to live."""
    return max(1, int(ttl * 1000 * (1 + random.random() * TTL_JITTER)))  # noqa: S311  (no secret)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "timeout"
    return "connection" if isinstance(error, RedisConnectionError | OSError) else "response"
