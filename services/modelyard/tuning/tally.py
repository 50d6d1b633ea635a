"""How many requests a setting answered, in which time, and how long each took: in fixed memory.

Latencies are counted in buckets that grow by 1 %, so a quantile is right to 1 % however many requests there were.
"""

import math
from dataclasses import dataclass, field

_LEAST = 1e-6
_STEP = math.log(1.01)
_BUCKETS = 2100
"""1 us to 20 minutes."""


@dataclass(slots=True)
class Tally:
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    _counts: list[int] = field(default_factory=lambda: [0] * _BUCKETS)

    def add(self, latency: float) -> None:
        """Count one request; `latency` in seconds."""
        self.requests += 1
        self._counts[min(_BUCKETS - 1, max(0, int(math.log(max(latency, _LEAST) / _LEAST) / _STEP)))] += 1

    @property
    def rate(self) -> float:
        """Requests per second; 0 when nothing was measured."""
        return self.requests / self.seconds if self.seconds else 0.0

    def quantile(self, share: float) -> float:
        """Seconds under which `share` of the requests stayed; NaN without requests."""
        if not self.requests:
            return math.nan
        left = math.ceil(share * self.requests)
        for index, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return _LEAST * math.exp((index + 0.5) * _STEP)
        raise AssertionError("the counts add up to the requests")

    @property
    def p50_ms(self) -> float:
        return self.quantile(0.50) * 1000

    @property
    def p99_ms(self) -> float:
        return self.quantile(0.99) * 1000
