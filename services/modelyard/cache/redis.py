"""The second tier: Redis, shared by all replicas, and never in the way.

    get     look-ups of one loop tick, and those that come while an MGET is under way, become one MGET
    set     written behind: what waits goes out as one pipeline; bounded, the rest is dropped
    down    the first failure bypasses the tier; a background probe brings it back (breaker)

Reads and writes have a connection each, opened by the probe: no request waits for a connection. Nothing here raises
into a request, and none waits longer than the timeout, in which a loop that is late itself does not count (clocks.py).
A late reply closes its connection (redis-py does so on cancellation), so that no other request can take it; entries
repeat their key all the same.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from modelyard import metrics
from modelyard.cache.clocks import Metered, Patience, patient_timeout
from modelyard.cache.store import MISS, Key, Missing
from modelyard.errors import ConfigurationError

log = logging.getLogger("modelyard.cache")

PROBE_SECONDS = (0.1, 0.25, 0.5, 1.0)
"""Waits between probes of a tier that is down; the last one repeats."""
FIRST_PROBE_SECONDS = 0.5
"""How long a start waits for Redis; the service becomes ready without it."""
PROBE_TIMEOUT_SECONDS = 1.0
WRITE_TIMEOUT_SECONDS = 0.5
MAX_READ_KEYS = 1024
MAX_WRITE_ROWS = 256
MAX_PENDING_ROWS = 8192
MAX_PENDING_BYTES = 64 * 2**20
WEIGHT = 0.1
"""Of the newest operation in the smoothed costs."""
TTL_JITTER = 0.1
"""Entries live up to this share longer, so that a burst of fills does not expire as a burst of misses."""

_FAULTS = (RedisError, OSError, TimeoutError)
_Found = asyncio.Future[list[bytes | Missing]]


class RedisStore:
    def __init__(self, url: str, prefix: str, timeout: float) -> None:
        """`url` may hold a password: it is never quoted. Raises ConfigurationError when it is no Redis URL."""
        self._prefix = prefix.encode()
        self._timeout = timeout
        try:
            self._reader, self._writer = (
                Redis.from_url(
                    url, socket_connect_timeout=PROBE_TIMEOUT_SECONDS, retry=Retry(NoBackoff(), 0), max_connections=2
                )
                for _ in range(2)
            )
        except ValueError:
            raise ConfigurationError("MODELYARD_REDIS_URL is no redis://, rediss:// or unix:// URL") from None
        self._up = False
        self.seconds_per_key = 0.0
        self.seconds_per_entry = 0.0
        self._waiting: deque[tuple[Sequence[Key], _Found]] = deque()
        self._reading = False
        self._pending: dict[Key, tuple[bytes, float] | None] = {}
        """Entries to write with their ttl; None deletes."""
        self._pending_bytes = 0
        self._writing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._probing = False
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
            log.warning("redis does not answer; serving with the memory tier alone")
            self._probe()

    # --- reads ------------------------------------------------------------------------------------------------------

    def get(self, keys: Sequence[Key]) -> _Found:
        loop = asyncio.get_running_loop()
        future: _Found = loop.create_future()
        patience = Patience(self._timeout, partial(_give_up, keys, future))
        future.add_done_callback(lambda _: patience.cancel())
        self._waiting.append((keys, future))
        if not self._reading:
            self._reading = True
            loop.call_soon(self._read_next)
        return future

    def _read_next(self) -> None:
        batch: list[tuple[Sequence[Key], _Found]] = []
        count = 0
        while self._waiting and count < MAX_READ_KEYS:
            keys, future = self._waiting.popleft()
            if not future.done():
                batch.append((keys, future))
                count += len(keys)
        if batch:
            self._run(self._read(batch))
        else:
            self._reading = False

    async def _read(self, batch: list[tuple[Sequence[Key], _Found]]) -> None:
        names = [self._name(key) for keys, _ in batch for key in keys]
        found: Sequence[Any] = [None] * len(names)
        try:
            if self._up:
                with contextlib.suppress(*_FAULTS):
                    found = await (work := Metered(self._ask(names)))
                    self.seconds_per_key = _smooth(self.seconds_per_key, work.seconds / len(names))
        finally:
            position = 0
            for keys, future in batch:
                part = found[position : position + len(keys)]
                position += len(keys)
                if not future.done():
                    future.set_result([entry if isinstance(entry, bytes) else MISS for entry in part])
            self._read_next()

    async def _ask(self, names: list[bytes]) -> Sequence[Any]:
        async with self._operation("get"), patient_timeout(self._timeout):
            return _checked(await self._reader.mget(names), len(names))

    # --- writes -----------------------------------------------------------------------------------------------------

    def set(self, entries: Mapping[Key, bytes], ttl: float) -> None:
        for key, entry in entries.items():
            self._write_behind(key, (entry, ttl))

    def delete(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._write_behind(key, None)

    def _write_behind(self, key: Key, write: tuple[bytes, float] | None) -> None:
        size = len(write[0]) if write else 0
        full = len(self._pending) >= MAX_PENDING_ROWS or self._pending_bytes + size > MAX_PENDING_BYTES
        if not self._up or full:
            metrics.cache_errors.labels("redis", "set", "dropped").inc()
            return
        self._pending[key] = write
        self._pending_bytes += size
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._write_next)

    def _write_next(self) -> None:
        batch = {key: self._pending.pop(key) for key in list(self._pending)[:MAX_WRITE_ROWS]}
        self._pending_bytes = max(0, self._pending_bytes - sum(len(write[0]) for write in batch.values() if write))
        if not self._pending:
            self._pending_bytes = 0
        if batch:
            self._run(self._write(batch))
        else:
            self._writing = False

    async def _write(self, batch: dict[Key, tuple[bytes, float] | None]) -> None:
        try:
            if self._up:
                with contextlib.suppress(*_FAULTS):
                    await (work := Metered(self._send(batch)))
                    self.seconds_per_entry = _smooth(self.seconds_per_entry, work.seconds / len(batch))
        finally:
            self._write_next()

    async def _send(self, batch: dict[Key, tuple[bytes, float] | None]) -> None:
        limit = asyncio.timeout(WRITE_TIMEOUT_SECONDS)
        async with self._operation("set"), limit, self._writer.pipeline(transaction=False) as pipeline:
            for key, write in batch.items():
                if write is None:
                    pipeline.delete(self._name(key))
                else:
                    pipeline.set(self._name(key), write[0], px=_with_jitter(write[1]))
            await pipeline.execute()

    # --- breaker ----------------------------------------------------------------------------------------------------

    async def ping(self) -> bool:
        """Ask Redis on both connections; brings the tier up when it answers."""
        try:
            async with self._operation("ping"):
                for client in (self._reader, self._writer):
                    await client.execute_command("PING")  # type: ignore[no-untyped-call]  # untyped library
        except _FAULTS:
            return False
        if not self._up:
            self._up = True
            metrics.cache_up.set(1)
            log.info("redis is in use")
        return True

    async def close(self) -> None:
        if self._tasks and self._up:
            await asyncio.wait(self._tasks, timeout=WRITE_TIMEOUT_SECONDS)
        self._set_down()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reader.aclose()
        await self._writer.aclose()

    @contextlib.asynccontextmanager
    async def _operation(self, op: str) -> AsyncIterator[None]:
        """Time the work and count what fails; a tier that cannot be read, or hangs, goes down."""
        started = time.perf_counter()
        try:
            yield
        except (TypeError, ValueError, AttributeError) as error:  # redis-py on a reply of the wrong kind
            metrics.cache_errors.labels("redis", op, "response").inc()
            self._fail(error, "response")
            raise ResponseError("a reply of the wrong kind") from None
        except _FAULTS as error:
            reason = _reason(error)
            metrics.cache_errors.labels("redis", op, reason).inc()
            if op != "set" or reason != "response":  # OOM and READONLY refuse writes, reads still answer
                self._fail(error, reason)
            raise
        finally:
            metrics.cache_operation_duration.labels("redis", op).observe(time.perf_counter() - started)

    def _fail(self, error: Exception, reason: str) -> None:
        if self._up:
            log.warning("redis failed (%s, %s); bypassed until it answers again", reason, type(error).__name__)
            self._set_down()
            self._probe()

    def _set_down(self) -> None:
        self._up = False
        metrics.cache_up.set(0)

    def _probe(self) -> None:
        if not self._probing:
            self._probing = True
            self._run(self._probe_until_up())

    async def _probe_until_up(self) -> None:
        attempt = 0
        try:
            while not self._up:
                await asyncio.sleep(PROBE_SECONDS[min(attempt, len(PROBE_SECONDS) - 1)])
                attempt += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                        await self.ping()
        finally:
            self._probing = False

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _name(self, key: Key) -> bytes:
        return self._prefix + key.hex().encode()


def _checked(reply: object, count: int) -> Sequence[Any]:
    """An MGET's reply. Whatever else stands at the other end counts as a tier that fails."""
    if not isinstance(reply, list) or len(reply) != count:
        raise ResponseError("the reply to MGET is no list of as many values")
    return reply


def _give_up(keys: Sequence[Key], future: _Found) -> None:
    if not future.done():
        future.set_result([MISS] * len(keys))


def _smooth(known: float, seconds: float) -> float:
    return known + WEIGHT * (seconds - known) if known else seconds


def _with_jitter(ttl: float) -> int:
    """Milliseconds to live."""
    return max(1, int(ttl * 1000 * (1 + random.random() * TTL_JITTER)))  # noqa: S311  (no secret)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "timeout"
    refused = isinstance(error, AuthenticationError)  # redis-py files it under connection errors
    return "connection" if isinstance(error, RedisConnectionError | OSError) and not refused else "response"
