"""Which row a request carries: popular ones again and again, and the rest seldom, as callers of a real service do.

    every tenth request         a row whose answer is known beforehand, in turn, where there are such rows
    share s of the others       a row by Zipf's law: the row of rank r comes in proportion to 1 / r ** exponent
    the rest                    every row in turn, changed by some of its last bits, so that no cache knows it

A change is of one real number towards zero, by less than one part in 10,000: it stays within every range that holds
zero, and the answer is that of the row but for a hair. A row of whole numbers cannot be changed so: it comes as it is,
and is new to a cache only the first time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modelyard.tensors import Array

STEPS = 512
"""Different changes of one number; each is a step of the last bit but one of a float32."""
STEP = 2.0**-22
EVERY = 10
"""Requests from one row with a known answer to the next."""


def weights(rows: int, exponent: float) -> Array:
    """[rows]: the probability of each rank, falling; all equal for exponent 0. Raises ValueError for none."""
    if rows < 1 or exponent < 0:
        raise ValueError(f"{rows} rows and exponent {exponent:g}: at least one row, and no negative exponent")
    raw = np.arange(1, rows + 1, dtype=np.float64) ** -exponent
    falling: Array = raw / raw.sum()
    return falling


class Draw:
    """An endless draw of row numbers, its own for each user. Which rows are popular is the same for all of them."""

    def __init__(self, rows: int, share: float, exponent: float, seed: int, golden: Sequence[int] = ()) -> None:
        """`golden`: the numbers of the rows whose answers are known."""
        if not 0 <= share <= 1:
            raise ValueError(f"a share of {share:g} is none: 0 to 1")
        self._edges = np.cumsum(weights(rows, exponent))
        self._ranks = np.random.default_rng(0).permutation(rows)
        self._random = np.random.default_rng(seed)
        self._share = share
        self._next = int(self._random.integers(rows))
        self._golden = golden
        self._count = int(self._random.integers(EVERY * max(1, len(golden))))

    def __call__(self) -> tuple[int, bool]:
        """The number of a row, and whether it is to be changed."""
        self._count += 1
        if self._golden and self._count % EVERY == 0:
            return self._golden[self._count // EVERY % len(self._golden)], False
        if self._random.random() < self._share:
            rank = int(np.searchsorted(self._edges, self._random.random(), side="right"))
            return int(self._ranks[min(rank, len(self._ranks) - 1)]), False
        self._next = (self._next + 1) % len(self._ranks)
        return self._next, True

    def changed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The same inputs, but for the last bits of one number, where there is one that can be changed."""
        given = dict(inputs)
        places = [(name, array) for name, array in given.items() if array.dtype in (np.float32, np.float64)]
        if not places:
            return given
        name, array = places[int(self._random.integers(len(places)))]
        candidates = np.flatnonzero(np.isfinite(array) & (np.abs(array) > 1e-30))
        if not len(candidates):
            return given
        given[name] = copy = array.copy()
        factor = 1.0 - STEP * float(self._random.integers(1, STEPS + 1))
        copy.ravel()[candidates[int(self._random.integers(len(candidates)))]] *= factor
        return given
