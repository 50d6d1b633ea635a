"""What a run of the model costs, by the number of its rows: measured, smoothed, and guessed where nothing was measured.

A model's cost per run may hardly grow with its rows (a GPU, a small network) or in proportion to them (a large one on a
CPU). Sizes are therefore kept apart, in powers of two.
"""

WEIGHT = 0.2
"""Of the newest run in the smoothed cost."""


class CostModel:
    def __init__(self, one_row: float) -> None:
        """`one_row`: measured seconds of a run with one row."""
        self._seconds = {0: one_row}
        """Exponent of the size class to smoothed seconds; class k holds 2^(k-1) < rows <= 2^k."""

    def observe(self, rows: int, seconds: float) -> None:
        size = _size_class(rows)
        known = self._seconds.get(size)
        self._seconds[size] = seconds if known is None else known + WEIGHT * (seconds - known)

    def expected(self, rows: int) -> float:
        """Seconds of a run. For a size not seen yet those of the nearest smaller one: merging is believed in."""
        size = _size_class(rows)
        return self._seconds[self._seen_below(size)]

    def at_most(self, rows: int) -> float:
        """Seconds of a run. For a size not seen yet: in proportion to the nearest smaller one."""
        size = _size_class(rows)
        below = self._seen_below(size)
        return self._seconds[below] * float(2 ** (size - below))

    def _seen_below(self, size: int) -> int:
        return max(seen for seen in self._seconds if seen <= size)


def _size_class(rows: int) -> int:
    return max(0, rows - 1).bit_length()
