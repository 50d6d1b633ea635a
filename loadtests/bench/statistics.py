"""Numbers from many measurements: percentiles, medians, and a histogram that is small enough to keep."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

PER_DECADE = 10  # buckets of a histogram between 1 and 10


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of `values` do not exceed (nearest rank); 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle; 0 for none."""
    if not values:
        return 0.0
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def spread(values: Sequence[float]) -> float:
    """(largest - smallest) / median: how far the rounds are apart."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def uncertainty(values: Sequence[float]) -> float:
    """Standard error of the median, 1.2533 sd / sqrt(n), with the sd of a normal distribution of the same quartiles:
    a few values that are far off do not count for more than others."""
    if len(values) < 2:
        return 0.0
    deviation = (percentile(values, 75) - percentile(values, 25)) / 1.349
    return 1.2533 * deviation / math.sqrt(len(values))


def histogram(seconds: Sequence[float]) -> dict[str, int]:
    """Upper bound of each bucket, in microseconds -> how many."""
    counts = Counter(math.ceil(math.log10(max(value * 1e6, 1.0)) * PER_DECADE) for value in seconds)
    return {f"{10 ** (bucket / PER_DECADE):.0f}": counts[bucket] for bucket in sorted(counts)}
