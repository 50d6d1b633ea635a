"""What the network has to beat: rankings that need no training beyond counting.

popularity      the same items for everybody
first_order     what came most often after the last item, then popularity
second_order    what came most often after the last two, then first_order; nobody has to beat it, it is reported
"""

import numpy as np
from generator import Floats, Integers, Sessions

NAMES = ("popularity", "first_order", "second_order")
PRIOR = 1e-3
"""Weight of the shorter memory: it orders what the longer one has never seen, and decides ties."""


def recall_at_10(ranked: Integers, truth: Integers) -> float:
    """Share of rows whose next item [n] is among the first ten ids of the ranking [n, 10 or more]."""
    return float((ranked[:, :10] == truth[:, None]).any(axis=1).mean())


def ranking(scores: Floats) -> Integers:
    """The ids (from 1) of the ten highest of each row [n, items]; the lower id first where scores are equal."""
    best: Integers = np.argsort(-scores, axis=1, kind="stable")[:, :10] + 1
    return best


class Counts:
    """What followed what in the training sessions. `last` [n, 2]: ids of the last two events, 0 where there is none."""

    def __init__(self, sessions: Sessions, items: int) -> None:
        self._items = items
        self._ids = sessions.items - 1
        self._popularity = np.bincount(self._ids[self._ids >= 0], minlength=items).astype(np.float64)
        self._first = np.zeros((items, items))
        now, after = self._ids[:, :-1], self._ids[:, 1:]
        np.add.at(self._first, (now[after >= 0], after[after >= 0]), 1)

    def popularity(self, last: Integers) -> Floats:
        """[n, items] scores, as of the other two."""
        shares = self._popularity / self._popularity.sum()
        return np.broadcast_to(shares, (len(last), self._items))

    def first_order(self, last: Integers) -> Floats:
        scores: Floats = self._first[last[:, 1] - 1] + PRIOR * self.popularity(last)
        return scores

    def second_order(self, last: Integers) -> Floats:
        wanted, rows = np.unique(self._pair(last[:, 0] - 1, last[:, 1] - 1), return_inverse=True)
        after = self._ids[:, 2:]
        there = after >= 0
        pairs, after = self._pair(self._ids[:, :-2], self._ids[:, 1:-1])[there], after[there]
        places = np.minimum(np.searchsorted(wanted, pairs), len(wanted) - 1)
        asked = wanted[places] == pairs
        counts = np.zeros((len(wanted), self._items))
        np.add.at(counts, (places[asked], after[asked]), 1)
        shorter = self.first_order(last)
        scores: Floats = counts[rows] + PRIOR * shorter / shorter.sum(axis=1, keepdims=True)
        return scores

    def _pair(self, before: Integers, now: Integers) -> Integers:
        """One number for two items; that of a missing one is no pair of two."""
        pair: Integers = (before + 1) * (self._items + 1) + now + 1
        return pair
