"""Rows in flight: who computes a row, who waits for it, and what happens when one of them goes away.

    Waiter   one request; a slot per row; it is finished when every slot is filled, or with the first failure
    Flight   one row that is being looked up or computed; any number of waiters' slots hang on it

Nobody owns a flight: the request that started it (its leader) waits like all others, so that its cancellation takes
away one waiter and nothing more. Only when no waiter is left is the work dropped.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from modelyard.cache.key import Signature
from modelyard.cache.store import MISS, Key, Missing, Row
from modelyard.tensors import Tensor


class Work(Protocol):
    """Rows that wait for the model."""

    def leave(self) -> None:
        """Somebody stopped waiting for them: they may be dropped if that was the last one."""

    def urge(self) -> None:
        """Somebody waits for them whose request has priority 1."""


class Waiter:
    __slots__ = ("_finished", "flights", "inputs", "left", "open", "priority", "results", "rows", "signature")

    def __init__(
        self,
        inputs: Sequence[Tensor],
        signature: Signature,
        slots: int,
        priority: int,
        finished: Callable[["Waiter", Exception | None], None],
    ) -> None:
        """`finished` is called once: when every slot is filled, or with the first failure."""
        self.inputs = inputs
        self.signature = signature
        self.priority = priority
        self.rows: list[Row | Missing] = [MISS] * slots
        self.results: list[str] = [""] * slots
        """Where each row came from: a value of modelyard_cache_rows_total's label `result`."""
        self.left = slots
        self.open = True
        self.flights: list[Flight] = []
        self._finished = finished

    def fill(self, slot: int, row: Row, result: str) -> None:
        self.rows[slot] = row
        self.results[slot] = result
        self.left -= 1
        if not self.left and self.open:
            self.open = False
            self.flights.clear()  # they lead back here: memory must not wait for the garbage collector
            self._finished(self, None)

    def fail(self, error: Exception) -> None:
        if self.open:
            self.open = False
            self._finished(self, error)

    def leave(self) -> "list[Flight]":
        """Stop waiting: the request was cancelled, timed out or failed elsewhere. Returns the flights left empty."""
        self.open = False
        for flight in self.flights:
            flight.waiting = [(waiter, slot) for waiter, slot in flight.waiting if waiter is not self]
        empty = [flight for flight in self.flights if not flight.waiting]
        self.flights.clear()
        return empty


class Flight:
    __slots__ = ("final", "key", "leader", "urgent", "waiting", "work")

    def __init__(self, key: Key, leader: Waiter, slot: int, *, final: bool = False) -> None:
        """`final`: an error of this flight is everybody's; it is their second."""
        self.key = key
        self.leader = leader
        self.final = final
        self.urgent = False
        """Whether somebody who joined has priority 1: then the row has it too, whoever was first."""
        self.work: Work | None = None
        """Where the row waits for the model, with others. It leads back here, so it is forgotten with the end."""
        self.waiting: list[tuple[Waiter, int]] = []
        self.join(leader, slot)

    def join(self, waiter: Waiter, slot: int) -> None:
        self.waiting.append((waiter, slot))
        waiter.flights.append(self)
        if waiter.priority == 1:
            self.urgent = True
            if self.work is not None:
                self.work.urge()

    def land(self, row: Row, result: str) -> None:
        """Everyone gets the row; for all but the leader it was a join."""
        first = True
        for waiter, slot in self.waiting:
            waiter.fill(slot, row, result if first and waiter is self.leader else "join")
            first = False
        self.waiting, self.work = [], None

    def fail(self, error: Exception) -> list[tuple[Waiter, int]]:
        """The leader gets the error. The others are returned: what failed the leader must not fail them."""
        followers = []
        for waiter, slot in self.waiting:
            if waiter is self.leader or self.final:
                waiter.fail(error)
            else:
                followers.append((waiter, slot))
        self.waiting, self.work = [], None
        return followers
