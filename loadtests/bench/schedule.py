"""When requests are due: arrival times for an open loop, in seconds from its start, known before the first one is sent.

What arrives does not wait for what was sent before; a server that is slow gets no fewer requests for it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Kind = Literal["poisson", "constant"]


def arrivals(kind: Kind, rate: float, seconds: float, seed: int = 0) -> Times:
    """Ascending times in [0, seconds), `rate` a second on average."""
    if rate <= 0 or seconds <= 0:
        return np.empty(0)
    return _constant(rate, seconds) if kind == "constant" else _poisson(rate, seconds, seed)


def _constant(rate: float, seconds: float) -> Times:
    # Rounded first: 0.1 s at 10 a second is one arrival, whatever the product of the two floats is.
    count = int(np.ceil(round(rate * seconds, 6)))
    times: Times = np.arange(count) / rate
    return times


def _poisson(rate: float, seconds: float, seed: int) -> Times:
    """Independent arrivals: exponential gaps, as many as it takes to fill the time."""
    random = np.random.default_rng(seed)
    parts, reached = [], 0.0
    while reached < seconds:
        gaps = random.exponential(1 / rate, int(rate * seconds * 1.1) + 16)
        parts.append(reached + np.cumsum(gaps))
        reached = float(parts[-1][-1])
    times: Times = np.concatenate(parts)
    return times[times < seconds]
