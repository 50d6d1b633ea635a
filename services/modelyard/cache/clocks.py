"""Time as a busy event loop has to count it.

Metered    what work costs the loop: the CPU time of its steps, not what it waits, nor what other threads take
Patience   a time limit for an answer from outside: what the loop itself is late by is not the other side's fault
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

STEPS = 10
"""In which a time limit is waited for. An answer that has arrived takes some turns of the loop until it is read."""
LATE = 1.5
"""A step counts as at most this many: where timers are late by more, the loop was elsewhere."""

T = TypeVar("T")


class Metered(Awaitable[T], Generic[T]):
    """Awaits a coroutine; `seconds` is the CPU time of this thread in it so far."""

    __slots__ = ("_work", "seconds")

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        proceed: Callable[[Any], Any] = self._work.send
        value: Any = None
        while True:
            started = time.thread_time()
            try:
                waits_for = proceed(value)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self.seconds += time.thread_time() - started
            try:
                value, proceed = (yield waits_for), self._work.send
            except BaseException as error:  # also a cancellation: it is the work's to deal with
                value, proceed = error, self._work.throw


class Patience:
    """Calls `over` once `seconds` have passed in which the loop was there to see an answer."""

    __slots__ = ("_last", "_left", "_loop", "_over", "_step", "_timer")

    def __init__(self, seconds: float, over: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = over
        self._step = seconds / STEPS
        self._left = seconds
        self._wait()

    def cancel(self) -> None:
        self._timer.cancel()

    def _wait(self) -> None:
        self._last = time.perf_counter()
        self._timer = self._loop.call_later(min(self._step, self._left), self._passed)

    def _passed(self) -> None:
        self._left -= min(time.perf_counter() - self._last, LATE * self._step)
        if self._left > 0:
            self._wait()
        else:
            self._over()


@contextlib.asynccontextmanager
async def patient_timeout(seconds: float) -> AsyncIterator[None]:
    """As asyncio.timeout: TimeoutError once Patience is over."""
    async with asyncio.timeout(None) as limit:
        patience = Patience(seconds, lambda: limit.reschedule(0.0))
        try:
            yield
        finally:
            patience.cancel()
