"""Bins of a feature: where they lie, found once from the reference rows, and how many values fall into each.

Edges e_0 < e_1 < ... make the bins  x < e_0,  e_0 <= x < e_1,  ...,  x >= e_last;  NaN has a bin of its own, the last.
"""

from collections.abc import Sequence

import numpy as np

from modelyard.tensors import Array

BINS = 10
MISSING = "missing"
FEW = BINS - 2
"""So many different values have a bin each, with one below and one above them for what was never seen."""
ROWS_PER_BIN = 10


def edges_of(values: Array) -> list[float]:
    """Edges of at most BINS bins of about equal share. Raises ValueError when no value is a number.

    `values` [n]; NaN and infinities are left out. Edges lie halfway between two neighbouring values, so that rounding
    moves none over an edge, and a value with much of the mass gets a bin of its own.
    """
    found, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if not len(found):
        raise ValueError("no value is a number")
    middles = found[:-1] + np.diff(found) / 2
    if len(found) <= FEW:
        gap = np.diff(found).min() / 2 if len(found) > 1 else 1e-6 * max(1.0, abs(float(found[0])))
        return _rising([found[0] - gap, *middles, found[-1] + gap])
    bins = max(2, min(BINS, int(counts.sum()) // ROWS_PER_BIN))
    cumulated = np.cumsum(counts)[:-1] / counts.sum()
    cuts = np.abs(cumulated[:, None] - np.arange(1, bins) / bins).argmin(axis=0)
    return _rising(middles[np.unique(cuts)])


def labels_of(edges: Sequence[float]) -> list[str]:
    """What the bins are called in metrics: 0, 1, ... and missing."""
    return [*map(str, range(len(edges) + 1)), MISSING]


def counts_of(columns: Array, edges: Sequence[Array]) -> list[Array]:
    """How many of the values [n, features] fall into each bin, for each feature; the last is that of NaN."""
    rows = np.ascontiguousarray(columns.T)  # a feature's values side by side: half the time of looking them up
    missing = np.isnan(rows)
    counts = []
    for values, absent, own in zip(rows, missing, edges, strict=True):
        places = own.searchsorted(values, side="right")
        places[absent] = len(own) + 1
        counts.append(np.bincount(places, minlength=len(own) + 2))
    return counts


def _rising(edges: Sequence[float] | Array) -> list[float]:
    """Without those that fall together, where values lie closer than numbers can."""
    return [float(edge) for edge in np.unique(np.asarray(edges, np.float64))]
