"""What a run of the model costs, by the number of its rows: measured, smoothed, and guessed where nothing was measured.

A model's cost per run may hardly grow with its rows (a GPU, a small network) or in proportion to them (a large one on a
CPU). Sizes are therefore kept apart, in powers of two.

Two costs are kept: how long a run takes, which is what waits are made of, and how long it keeps a core busy, which is
what it would cost the event loop. In a thread of a loaded process the first is many times the second, and even the
second is more than in the loop: cold caches, and the wait for the interpreter.
"""

from collections.abc import Mapping
from types import MappingProxyType

WEIGHT = 0.2
"""Of the newest run in the smoothed cost."""


class CostModel:
    def __init__(self, one_row: float, warmed: Mapping[int, float] = MappingProxyType({})) -> None:
        """`one_row`: measured seconds of a run with one row; `warmed`: of others, by the number of their rows."""
        self._seconds = {0: one_row}
        """Exponent of the size class to smoothed seconds; class k holds 2^(k-1) < rows <= 2^k."""
        self._busy = {0: one_row}
        for rows, seconds in warmed.items():
            self.observe(rows, seconds)
            self.observe_busy(rows, seconds)

    def observe(self, rows: int, seconds: float) -> None:
        """A run of `rows` rows took `seconds`."""
        _smooth(self._seconds, _size_class(rows), seconds)

    def observe_busy(self, rows: int, seconds: float, *, in_thread: bool = False) -> None:
        """A run of `rows` rows kept a core busy for `seconds`; one in a thread can only prove it cheaper than known."""
        if not in_thread or seconds < self.at_most(rows):
            _smooth(self._busy, _size_class(rows), seconds)

    def expected(self, rows: int) -> float:
        """Seconds of a run. For a size not seen yet those of the nearest smaller one: merging is believed in."""
        return self._seconds[_seen_below(self._seconds, _size_class(rows))]

    def at_most(self, rows: int) -> float:
        """Seconds of a core. For a size not seen yet: in proportion to the nearest smaller one.

        Never less than what fewer rows are known to cost: they may have been the first ones that were hard.
        """
        size = _size_class(rows)
        below = _seen_below(self._busy, size)
        fewer = max(seconds for seen, seconds in self._busy.items() if seen <= below)
        return max(fewer, self._busy[below] * float(2 ** (size - below)))


def _smooth(known: dict[int, float], size: int, seconds: float) -> None:
    before = known.get(size)
    known[size] = seconds if before is None else before + WEIGHT * (seconds - before)


def _seen_below(known: dict[int, float], size: int) -> int:
    return size if size in known else max(seen for seen in known if seen <= size)


def _size_class(rows: int) -> int:
    return (rows - 1).bit_length() if rows > 1 else 0
