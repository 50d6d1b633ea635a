"""When requests run out of time: one timer of the event loop for all of them.

A timer for each request would cost as much as running a small model. Most requests are answered long before their
deadline, so what counts is that adding and discarding one is cheap: a dictionary entry each.
"""

import asyncio
import time
from collections.abc import Callable
from itertools import count
from math import inf


class Deadlines:
    def __init__(self) -> None:
        self._open: dict[int, tuple[float, Callable[[], None]]] = {}
        self._tickets = count()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = inf
        """When the timer fires: never later than the earliest deadline."""
        self._empty: asyncio.Event | None = None
        self.instead: Exception | None = None
        """What requests end with in place of their deadline, once all were ended: those that come after that too."""

    def __len__(self) -> int:
        """Requests that are open."""
        return len(self._open)

    def add(self, seconds: float, expire: Callable[[], None]) -> int:
        """Call `expire` in the event loop after `seconds`, unless the returned ticket is discarded before."""
        ticket = next(self._tickets)
        if self.instead is not None:
            seconds = 0.0
        when = time.monotonic() + seconds
        self._open[ticket] = (when, expire)
        if when < self._wakes:
            self._arm(when, seconds)
        return ticket

    def discard(self, ticket: int) -> None:
        self._open.pop(ticket, None)
        if self._empty is not None and not self._open:
            self._empty.set()

    def end_all(self, error: Exception) -> None:
        """The time of every request is over, now: nobody can answer them any more."""
        self.instead = error
        self._expire(inf)

    async def empty(self) -> None:
        """Wait until every ticket is discarded or expired."""
        if self._open:
            if self._empty is None or self._empty.is_set():
                self._empty = asyncio.Event()
            await self._empty.wait()

    def _arm(self, when: float, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes = when
        self._timer = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._timer, self._wakes = None, inf
        now = time.monotonic()
        try:
            self._expire(now)
        finally:  # one that fails takes nobody with it
            if self._open:
                when = min(when for when, _ in self._open.values())
                self._arm(when, max(0.0, when - now))

    def _expire(self, until: float) -> None:
        for ticket, (when, expire) in list(self._open.items()):
            if when <= until and ticket in self._open:  # an earlier one may have discarded it
                self.discard(ticket)
                expire()
