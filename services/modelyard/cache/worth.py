"""Is a tier worth asking for this model? Decided by what was measured while it was asked, again and again.

A look-up pays where what its hits save is more than what it costs, and one that never hits may take 1/factor of the
model's time at most: a tier is used while

    look_up_cost <= (hit_ratio + 1 / factor) * row_cost

That is decided each time that look-ups have taken EVIDENCE seconds, however many rows those were. A tier that is left
out costs nothing, but its hits are unknown: after REST seconds it is used once more until there is evidence.
"""

EVIDENCE = 1.0
"""Seconds of look-ups on which a decision rests: what is looked up seldom costs too little to decide about."""
REST = 300.0
"""Seconds for which a tier is left out. Evidence gathered once in these takes three thousandths of a core at most."""
WEIGHT = 0.3
"""Of the newest period in a smoothed value: a tier that has paid is not left out for one burst of new rows."""
RECENT = 1000
"""Requests that the share of known ones is taken from."""
LOOK = 4
"""What it takes to see whether a request is known, in look-ups: it is decoded and checked before."""


class PerRow:
    """Something for each row, seconds or hits: the mean of each period, smoothed over the periods."""

    __slots__ = ("pending", "pending_rows", "rows", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.rows = 0
        """Rows in the periods that have ended."""
        self.pending = 0.0
        self.pending_rows = 0

    def add(self, amount: float, rows: int) -> None:
        """Of `rows` rows; with 0 rows it belongs to rows that are counted elsewhere."""
        self.pending += amount
        self.pending_rows += rows

    def settle(self) -> None:
        """End the period."""
        if not self.pending_rows:
            return
        mean = self.pending / self.pending_rows
        self.value = mean if not self.rows else self.value + WEIGHT * (mean - self.value)
        self.rows += self.pending_rows
        self.pending, self.pending_rows = 0.0, 0


class Share:
    """The share of requests of which memory knew every row, lately; until there were some: all."""

    __slots__ = ("_asked", "_known", "value")

    def __init__(self) -> None:
        self.value = 1.0
        self._asked = self._known = 0

    def add(self, *, known: bool) -> None:
        self._asked += 1
        self._known += known

    def settle(self) -> None:
        """End the period."""
        if self._asked:
            self.value += min(1.0, self._asked / RECENT) * (self._known / self._asked - self.value)
            self._asked = self._known = 0


class Worth:
    """One tier for one model."""

    __slots__ = ("_again", "_evidence", "_factor", "_hits", "admitted", "look_up")

    def __init__(self, factor: float, evidence: float = EVIDENCE) -> None:
        """`factor` 0: always used. `evidence`: seconds of look-ups between two decisions."""
        self._factor = factor
        self._evidence = evidence
        self._hits = PerRow()
        self._again = 0.0
        self.look_up = PerRow()
        """Seconds for which a row keeps the event loop busy: key, look-up and, where it was not found, fill."""
        self.admitted = True

    def asked(self, seconds: float, rows: int, hits: int = 0) -> None:
        """`hits` of `rows` rows were found. With 0 rows: work on rows that are counted elsewhere."""
        if self.admitted:
            self.look_up.add(seconds, rows)
            self._hits.add(hits, rows)

    def review(self, model: PerRow, now: float) -> None:
        """Decide when there is evidence. `model`: seconds of a row without the cache."""
        if self.admitted:
            if model.rows and self.look_up.pending >= self._evidence:
                self.look_up.settle()
                self._hits.settle()
                self.admitted = pays(self.look_up.value, self._hits.value, model.value, self._factor)
                self._again = now + REST
        elif now >= self._again:
            self.admitted = True
            self._hits = PerRow()  # those of long ago say nothing

    def worth_a_look(self, model: PerRow, known: Share) -> bool:
        """Of requests that would be refused: do those that turn out to be known save more than a look at all costs?"""
        if not self.admitted or not model.rows:
            return self.admitted
        return known.value * model.value >= min(self._factor, LOOK) * self.look_up.value


def pays(look_up_cost: float, hit_ratio: float, row_cost: float, factor: float) -> bool:
    """The rule, in a form that holds for the factor 0 too."""
    return factor * look_up_cost <= (factor * hit_ratio + 1) * row_cost
