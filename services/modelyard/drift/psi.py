"""The population stability index: one number for how far one distribution over bins lies from another.

    PSI = sum over the bins of (p - q) * ln(p / q)        p: share observed, q: share of the reference

It is the symmetrized Kullback-Leibler divergence (Jeffreys 1946), used under this name in credit scoring; Yurdakul,
"Statistical properties of population stability index" (Western Michigan University, 2018) derives that without any
shift it is distributed about as (1/n + 1/m) times a chi-squared variable with bins - 1 degrees of freedom, for n and m
rows. So a value means nothing without its n: with ten bins and n = 100 the 99th percentile of pure chance is 0.21, with
n = 1,000 it is 0.022. That 0.1 is "some" and 0.2 is "a large" shift is a convention of that trade, not a test.
"""

from collections.abc import Sequence

import numpy as np

from modelyard.tensors import Array

FLOOR = 0.0001
"""The least share of a bin, on both sides: an empty bin would make the index infinite. Nothing is normalized anew, so
that Prometheus computes the same number by clamp_min."""
SOME, LARGE = 0.1, 0.2
"""The convention."""
LEAST_ROWS = 1000
"""In a window, for a value to mean something."""


def shares(counts: Sequence[float] | Array) -> Array:
    """Counts as shares of their sum, none below FLOOR. Raises ValueError when there is nothing to share."""
    array = np.asarray(counts, np.float64)
    total = array.sum()
    if not total > 0:
        raise ValueError("no rows were counted: there is no share of nothing")
    found: Array = np.maximum(array / total, FLOOR)
    return found


def psi(reference: Sequence[float] | Array, observed: Sequence[float] | Array) -> float:
    """The index of `observed`, counts by bin, against `reference`, shares by bin. Raises ValueError, see `shares`."""
    q, p = np.maximum(np.asarray(reference, np.float64), FLOOR), shares(observed)
    if p.shape != q.shape:
        raise ValueError(f"{p.size} bins were observed, the reference has {q.size}")
    return float(((p - q) * np.log(p / q)).sum())
