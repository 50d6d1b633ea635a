"""Who gets in: refusal by time, by memory and by quota, at once and with a Retry-After, never by waiting.

A request that the in-process cache knows is not asked: it costs less than the question. But where hardly any is known
(cache/worth.py), a request that there is no room for is refused without a look. Health and metrics never come by here.
"""

import math
import time
from collections.abc import Callable

from modelyard import metrics
from modelyard.errors import Overloaded, QuotaExceeded

REPEATED_SHARE = 0.02
"""Part of a wait for which somebody is refused, during which others are refused for it: it cannot have ended."""
REPEATED_SECONDS = 0.005
"""The longest time for that: a run that hung may end at any moment."""


class Admission:
    """Guards one model's queue by the estimated wait."""

    def __init__(
        self,
        model: str,
        queue_seconds: float,
        max_queue_bytes: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._model = model
        self._queue_seconds = queue_seconds
        self._max_queue_bytes = max_queue_bytes
        self._clock = clock
        self._shed = metrics.shed_by_reason(model)
        self._last = (0.0, "")
        """Wait and text of the last refusal for the wait."""
        self._repeated_until = 0.0

    def admit(self, wait: float, timeout: float, queued_bytes: int, nbytes: int) -> None:
        """Raise Overloaded when the wait is above the limit or the caller's time, or when the queue is full of bytes.

        `wait` is the batcher's estimate in seconds, `timeout` the caller's remaining time.
        """
        if queued_bytes + nbytes > self._max_queue_bytes:
            self._refuse("queue_full", wait, "the queue is full")
        if wait > self._queue_seconds:
            self._last = wait, f"the wait of {wait:.2f} s is above the limit of {self._queue_seconds:g} s"
            self._repeated_until = self._clock() + min(REPEATED_SECONDS, REPEATED_SHARE * wait)
            self._refuse("queue_full", *self._last)
        if wait > timeout:
            self._refuse("deadline", wait, f"the wait of {wait:.2f} s is above the caller's {timeout:.3f} s")

    def repeat(self) -> None:
        """Raise Overloaded as a moment ago, if somebody was refused for the wait then."""
        if self._clock() < self._repeated_until:
            self._refuse("queue_full", *self._last)

    def _refuse(self, reason: str, wait: float, text: str) -> None:
        self._shed[reason].inc()
        raise Overloaded(f"'{self._model}' is overloaded: {text}", retry_after=max(1, math.ceil(wait)))


class Quota:
    """A token bucket per tenant: `rate` requests a second, bursts of one second's worth."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = max(1.0, rate)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """Tenant to (tokens, time of the count). Tenants are key names, a closed set."""

    def take(self, tenant: str, model: str) -> None:
        """Raise QuotaExceeded when the tenant has used up its share."""
        if not self._rate:
            return
        now = self._clock()
        tokens, counted = self._buckets.get(tenant, (self._burst, now))
        tokens = min(self._burst, tokens + (now - counted) * self._rate)
        if tokens < 1:
            self._buckets[tenant] = (tokens, now)
            metrics.shed_by_reason(model)["quota"].inc()
            wait = (1 - tokens) / self._rate
            raise QuotaExceeded(f"the quota of {self._rate:g} requests a second is used up", math.ceil(wait))
        self._buckets[tenant] = (tokens - 1, now)
