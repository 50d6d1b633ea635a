"""Which row each request carries: known ones, that a cache has seen, and new ones, mixed in an asked proportion.

A row is named by its number (payloads.py). Counters are scattered over all numbers, so that two requests that follow
each other have rows far apart: an answer that went to the wrong request is never within the tolerance of the right one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from loadtests.bench.payloads import NUMBERS

STRIDE = 61_803_399  # no factor in common with NUMBERS: every counter has a number of its own
BLOCK = 1000


def scattered(counter: int) -> int:
    """The number of a counter."""
    return counter * STRIDE % NUMBERS


def draw(ratio: float, known: int, start: int = 0, seed: int = 0) -> Iterator[int]:
    """Numbers without end: in each block of 1000 the fraction `ratio` is one of the `known` first, the rest is new.

    `start` counts the new rows that earlier draws have used up.
    """
    if not 0 <= ratio <= 1 or (ratio and not known):
        raise ValueError(f"a ratio of {ratio:g} with {known} known rows cannot be drawn")
    random = np.random.default_rng(seed)
    hits = round(ratio * BLOCK)
    fresh = known + start
    while True:
        block = np.full(BLOCK, -1)
        block[:hits] = random.integers(0, max(1, known), hits)
        random.shuffle(block)
        for counter in block.tolist():
            if counter >= 0:
                yield scattered(counter)
            else:
                yield scattered(fresh)
                fresh += 1
