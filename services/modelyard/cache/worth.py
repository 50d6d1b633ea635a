"""Is a tier worth asking for this model? Decided by what both cost, as measured, again and again.

A row that is looked up and not found has paid for nothing. A tier is therefore used only while a row of the model costs
at least `factor` times a row's look-up and fill: a cache that never hits then costs about 1/factor of the model's time
at most, and cheap models run faster without. (What joining rows in flight costs beside that is not measured.) Who knows
that most rows hit may set a smaller factor; 0 is always.
"""

EVIDENCE = 20_000
"""Rows that must have been looked up before a tier can be kept out: little traffic is never worth a decision."""
RETURN = 1.25
"""A tier that was kept out comes back at this many times the factor, so that noise does not flip it."""
WEIGHT = 0.3
"""Of the newest period in a smoothed cost."""


class Cost:
    """Seconds a row: the mean of each period, smoothed over the periods."""

    __slots__ = ("_pending_rows", "_pending_seconds", "rows", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.rows = 0
        """Rows that were ever counted."""
        self._pending_seconds = 0.0
        self._pending_rows = 0

    def add(self, seconds: float, rows: int) -> None:
        """Work on `rows` rows; with 0 rows it belongs to rows that are counted elsewhere."""
        self._pending_seconds += seconds
        self._pending_rows += rows

    def settle(self) -> None:
        """End the period."""
        if not self._pending_rows:
            return
        mean = self._pending_seconds / self._pending_rows
        self.seconds = mean if not self.rows else self.seconds + WEIGHT * (mean - self.seconds)
        self.rows += self._pending_rows
        self._pending_seconds, self._pending_rows = 0.0, 0


class Worth:
    """One tier for one model."""

    __slots__ = ("_factor", "admitted", "look_up")

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self.look_up = Cost()
        """Of a row: key, look-up and, where it was not found, fill."""
        self.admitted = True

    def review(self, model: Cost) -> None:
        """Decide anew. `model` is what a row costs without the cache."""
        self.look_up.settle()
        if not model.rows or self.look_up.rows < EVIDENCE:
            return
        price = self._factor * self.look_up.seconds
        self.admitted = model.seconds >= (price if self.admitted else RETURN * price)
