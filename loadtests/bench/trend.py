"""Whether a series of samples is flat: a straight line through what came after the warm-up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HOUR = 3600.0


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Least squares: change of the value a second; 0 for fewer than two different times."""
    x, y = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if len(x) < 2:
        return 0.0
    centred = x - x.mean()
    spread = float(centred @ centred)
    return float(centred @ (y - y.mean()) / spread) if spread else 0.0


def percent_an_hour(times: Sequence[float], values: Sequence[float], warm_up: float = 0.0) -> float:
    """Change an hour in percent of the mean, of the samples taken at or after `warm_up` seconds."""
    kept = [(t, v) for t, v in zip(times, values, strict=True) if t >= warm_up]
    mean = sum(v for _, v in kept) / len(kept) if kept else 0.0
    if not mean:
        return 0.0
    return 100 * HOUR * slope([t for t, _ in kept], [v for _, v in kept]) / mean


def growth(values: Sequence[float]) -> float:
    """How much the last third is above the first third, on average: 0 for a series that is flat."""
    third = max(1, len(values) // 3)
    if not values:
        return 0.0
    return sum(values[-third:]) / third - sum(values[:third]) / third
