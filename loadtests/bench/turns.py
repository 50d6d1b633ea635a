"""Several endpoints asked in turns by one load generator: which is asked now, and how fast each turn went.

    0 1 2 0 1 2 ...; each turn begins with what the one before it left under way, so each comes after another

Turns of a fraction of a second are close enough together that what disturbs a shared machine meets all of them alike,
so that the ratio of two turns of one round says more than that of two long measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

SETTLE = 0.25  # of a turn does not count: requests of the turn before are still under way


@dataclass
class _Turn:
    answers: int = 0
    first: float = 0.0
    last: float = 0.0


class Turns:
    """`endpoints` take turns of `seconds`."""

    def __init__(self, endpoints: int, seconds: float) -> None:
        self._endpoints, self._seconds = endpoints, seconds
        self._turns: dict[int, _Turn] = {}

    def current(self, now: float) -> int:
        """The endpoint whose turn it is, `now` seconds after the start."""
        return int(now / self._seconds) % self._endpoints

    def answered(self, endpoint: int, now: float) -> None:
        """Count an answer, if it is one of the turn under way and past the turn's beginning."""
        number, part = divmod(now / self._seconds, 1.0)
        if part < SETTLE or endpoint != self.current(now):
            return
        turn = self._turns.setdefault(int(number), _Turn(first=now))
        turn.answers += 1
        turn.last = now

    def rates(self, total_seconds: float) -> list[list[float]]:
        """For each endpoint the answers a second of each round that was whole.

        Counted from the first answer to the last: of a slow model so few fall into a turn that one more or less counts.
        """
        rounds = int(total_seconds / self._seconds + 1e-6) // self._endpoints
        turns = [self._turns.get(number, _Turn()) for number in range(rounds * self._endpoints)]
        rates = [(turn.answers - 1) / (turn.last - turn.first) if turn.answers > 1 else 0.0 for turn in turns]
        return [rates[endpoint :: self._endpoints] for endpoint in range(self._endpoints)]
