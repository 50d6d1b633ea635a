"""The batches that the executors have: how much work they are, and whether one of them hangs."""

from modelyard.batching.cost import CostModel

HANGING = 3
"""A run that takes this many times the expected seconds may never end."""
GIVEN_SECONDS = 0.001
"""How long an estimate of the work that the executors have may be used."""


class Runs:
    def __init__(self, cost: CostModel) -> None:
        self._cost = cost
        self._runs: dict[int, tuple[float, int]] = {}
        """(start, rows) of each batch, by its id; the start is 0 until a thread takes it."""
        self._estimated_at = 0.0
        self._estimate = (0.0, 0.0)

    def note(self, batch: int, rows: int, started: float = 0.0) -> None:
        """An executor was given a batch, or a thread has taken it. May be called in any thread."""
        self._runs[batch] = (started, rows)

    def ended(self, batch: int) -> None:
        del self._runs[batch]

    def oldest(self, now: float) -> float:
        """Seconds for which the oldest run in a thread has been going on; 0 when none is."""
        started = [start for start, _ in list(self._runs.values()) if start]
        return now - min(started) if started else 0.0

    def work(self, now: float) -> tuple[float, float]:
        """Seconds of work that the executors have, and the age of a run that hangs. Under overload all refusals ask."""
        if now - self._estimated_at > GIVEN_SECONDS:
            seconds = overdue = 0.0
            for started, rows in list(self._runs.values()):
                age, expected = now - started if started else 0.0, self._cost.expected(rows)
                seconds += max(0.0, expected - age)
                if age > HANGING * expected:
                    overdue = max(overdue, age)
            self._estimated_at, self._estimate = now, (seconds, overdue)
        return self._estimate
