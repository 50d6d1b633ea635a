"""Made-up measurements."""

from __future__ import annotations

from modelyard.tuning.tally import Tally


def tally(rate: float, p99_ms: float = 1.0, errors: int = 0) -> Tally:
    """A hundred requests at `rate`, all of them `p99_ms` long."""
    made = Tally(seconds=100 / rate, errors=errors)
    for _ in range(100):
        made.add(p99_ms / 1000)
    return made
