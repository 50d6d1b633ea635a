"""Rows in flight: who computes a row, who waits for it, and what happens when one of them goes away.

    Waiter   one request; a slot per row; its future is done when every slot is filled, or with the first failure
    Flight   one row that is being looked up or computed; any number of waiters' slots hang on it

Nobody owns a flight: the request that started it (its leader) waits like all others, so that its cancellation takes
away one waiter and nothing more. Only when no waiter is left is the work dropped.
"""

import asyncio
from collections.abc import Sequence

from modelyard.cache.key import Signature
from modelyard.cache.store import Key, Row
from modelyard.tensors import Tensor


class Waiter:
    __slots__ = ("flights", "future", "inputs", "left", "priority", "results", "rows", "signature")

    def __init__(self, inputs: Sequence[Tensor], signature: Signature, slots: int, priority: int = 0) -> None:
        self.inputs = inputs
        self.signature = signature
        self.priority = priority
        self.rows: list[Row | None] = [None] * slots
        self.results: list[str] = [""] * slots
        """Where each row came from: a value of modelyard_cache_rows_total's label `result`."""
        self.left = slots
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.flights: list[Flight] = []

    def fill(self, slot: int, row: Row, result: str) -> None:
        self.rows[slot] = row
        self.results[slot] = result
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def leave(self) -> "list[Flight]":
        """Stop waiting: the request was cancelled, timed out or failed elsewhere. Returns the flights left empty."""
        for flight in self.flights:
            flight.waiting = [(waiter, slot) for waiter, slot in flight.waiting if waiter is not self]
        empty = [flight for flight in self.flights if not flight.waiting]
        self.flights.clear()
        return empty


class Flight:
    __slots__ = ("final", "key", "leader", "waiting")

    def __init__(self, key: Key, leader: Waiter, slot: int, *, final: bool = False) -> None:
        """`final`: an error of this flight is everybody's; it is their second."""
        self.key = key
        self.leader = leader
        self.final = final
        self.waiting: list[tuple[Waiter, int]] = []
        self.join(leader, slot)

    def join(self, waiter: Waiter, slot: int) -> None:
        self.waiting.append((waiter, slot))
        waiter.flights.append(self)

    def land(self, row: Row, result: str) -> None:
        """Everyone gets the row; for all but the leader it was a join."""
        first = True
        for waiter, slot in self.waiting:
            waiter.fill(slot, row, result if first and waiter is self.leader else "join")
            first = False
        self.waiting = []

    def fail(self, error: Exception) -> list[tuple[Waiter, int]]:
        """The leader gets the error. The others are returned: what failed the leader must not fail them."""
        followers = []
        for waiter, slot in self.waiting:
            if waiter is self.leader or self.final:
                waiter.fail(error)
            else:
                followers.append((waiter, slot))
        self.waiting = []
        return followers
