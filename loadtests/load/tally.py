"""What the requests of a run came to, counted where they are made and added up where they are judged.

    users of a process -> Tally -> take() -> report to the master -> add() -> the run's Tally

A target counts time, not requests: each user owes `rate` requests for every second that it lives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

OUTCOMES = ("good", "wrong", "error")
MOST_REASONS = 50
"""Of different texts that are kept: a server that names a number in each would fill the memory."""


@dataclass(slots=True)
class Tally:
    """Counts of one process, or of all of them."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """By the name of the requests: good, wrong (an answer that is not right), error (no answer, or a refusal)."""
    reasons: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    """By row, of those whose truth is known: how often it was answered."""
    right: Counter[str] = field(default_factory=Counter)
    owed: Counter[str] = field(default_factory=Counter)
    """By the name of the requests: how many the users should have made."""

    def count(self, name: str, outcome: str, reason: str = "") -> None:
        self.outcomes.setdefault(name, Counter())[outcome] += 1
        if reason and (reason in self.reasons or len(self.reasons) < MOST_REASONS):
            self.reasons[reason] += 1

    def judged(self, row: int, *, right: bool) -> None:
        """Of a row with a truth."""
        self.asked[str(row)] += 1
        self.right[str(row)] += right

    def take(self) -> dict[str, Any]:
        """Everything counted since the last time, as plain values; the counts start again."""
        document = {
            "outcomes": {name: dict(counts) for name, counts in self.outcomes.items()},
            **{name: dict(getattr(self, name)) for name in ("reasons", "asked", "right", "owed")},
        }
        for part in (self.outcomes, self.reasons, self.asked, self.right, self.owed):
            part.clear()
        return document

    def add(self, document: Mapping[str, Any]) -> None:
        """What `take` gave in another process."""
        for name, counts in document["outcomes"].items():
            self.outcomes.setdefault(name, Counter()).update(counts)
        for name in ("reasons", "asked", "right", "owed"):
            getattr(self, name).update(document[name])

    def total(self, outcome: str) -> int:
        return sum(counts[outcome] for counts in self.outcomes.values())


class Clock:
    """The time that users live, by the name of their requests, as requests that they owe."""

    def __init__(self, rate: float, now: Callable[[], float]) -> None:
        """`rate` in requests a second of one user."""
        self._rate = rate
        self._now = now
        self._since: dict[object, tuple[str, float]] = {}

    def started(self, user: object, name: str) -> None:
        self._since[user] = (name, self._now())

    def ended(self, user: object, tally: Tally) -> None:
        self._settle(user, tally)
        self._since.pop(user, None)

    def settle(self, tally: Tally) -> None:
        """Put what is owed until now into the tally."""
        for user in list(self._since):
            self._settle(user, tally)

    def _settle(self, user: object, tally: Tally) -> None:
        if user in self._since:
            name, since = self._since[user]
            now = self._now()
            tally.owed[name] += (now - since) * self._rate  # type: ignore[assignment]  # a Counter adds any numbers
            self._since[user] = (name, now)
