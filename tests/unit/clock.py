"""Time under the test's thumb: what an event loop's timers and `time` are to the code, without waiting.

It stands in for both the loop (`call_later`, `call_soon`, `create_task`, `time`) and the module `time` (`monotonic`,
`perf_counter`, `thread_time`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Timer:
    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self.when = when
        self.call = call
        self.open = True

    def cancel(self) -> None:
        self.open = False


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[Timer] = []

    @property
    def timers(self) -> list[Timer]:
        """Those that will fire."""
        return [timer for timer in self._timers if timer.open]

    def monotonic(self) -> float:
        return self.now

    perf_counter = thread_time = time = monotonic

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        timer = Timer(self.now + delay, lambda: callback(*args))
        self._timers.append(timer)
        return timer

    def call_soon(self, callback: Callable[..., object], *args: Any) -> asyncio.Handle:
        return asyncio.get_running_loop().call_soon(callback, *args)

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    def advance(self, seconds: float) -> None:
        """Let time pass and fire what becomes due, in order."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.when <= end]:
            timer = min(due, key=lambda timer: timer.when)
            timer.open = False
            self.now = max(self.now, timer.when)
            timer.call()
        self._timers = self.timers
        self.now = end
