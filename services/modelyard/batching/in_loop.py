"""May a model run in the event loop, without a thread? As long as it is cheap there, as measured and as it turns out.

A hand-over to a thread costs more than a small model. But what a run costs may depend on its input: one that takes far
longer than the measured cost blocks everybody, and must stay the only one.
"""

from modelyard.batching.cost import CostModel

SURPRISE = 20
"""A run in the event loop that costs this many times the limit (in CPU time) was the last one there."""
WATCHED_ONE_IN = 16
"""The clock of a thread is too dear to be asked at each run."""
SUSPENSION = 64
"""Runs that go to threads after one that took long: was it the model, or was the process not let run?"""


class InLoop:
    def __init__(self, limit: float, cost: CostModel) -> None:
        """`limit`: the CPU seconds of a run that may go into the loop."""
        self._limit = limit
        self._cost = cost
        self._never = False
        self._suspended = 0
        self._unwatched = 0
        self.barred = False
        """True while runs wait for a device: that costs no CPU time, and would stop the loop all the same."""

    def allows(self, rows: int) -> bool:
        return not self.barred and not self._never and not self._suspended and self._cost.at_most(rows) < self._limit

    def watch(self) -> bool:
        """Is the CPU time of the next run in the loop to be measured?"""
        watched = not self._unwatched
        self._unwatched = (self._unwatched + 1) % WATCHED_ONE_IN
        return watched

    def ran(self, seconds: float, cpu: float | None) -> bool:
        """Learn from a run in the loop; `cpu` where it was watched. False: it was the last one there."""
        if cpu is not None and cpu > SURPRISE * self._limit:
            self._never = True
        elif seconds > SURPRISE * self._limit:
            self._suspended = SUSPENSION
        return not self._never

    def ran_in_thread(self, rows: int, busy: float) -> None:
        """Learn from a run in a thread, when it is there because the loop was suspended."""
        if self._suspended:
            self._suspended -= 1
            self._never = self._never or busy > SURPRISE * self._limit > self._cost.at_most(rows)
