"""Waiters and flights by themselves: who gets what when a row lands, fails or is left."""

from __future__ import annotations

import numpy as np

from modelyard.cache.flight import Flight, Waiter
from modelyard.cache.key import Signature
from modelyard.cache.store import Row

ROW: Row = (np.ones(1, np.float32),)


class Waiting(Waiter):
    """A waiter that keeps how it ended."""

    def __init__(self, slots: int) -> None:
        super().__init__([], Signature((), (), ()), slots, 0, lambda _, error: self.ends.append(error))
        self.ends: list[Exception | None] = []


def waiter(slots: int = 1) -> Waiting:
    return Waiting(slots)


def test_a_waiter_is_done_when_its_last_slot_is_filled() -> None:
    one = waiter(2)
    one.fill(1, ROW, "miss")
    assert not one.ends
    one.fill(0, ROW, "hit_memory")
    assert one.ends == [None]
    assert one.results == ["hit_memory", "miss"]


def test_landing_is_a_miss_for_the_leader_and_a_join_for_the_others() -> None:
    leader, follower = waiter(), waiter()
    flight = Flight(b"k", leader, 0)
    flight.join(follower, 0)
    flight.land(ROW, "miss")
    assert (leader.results, follower.results) == (["miss"], ["join"])
    flight.land(ROW, "miss")
    assert leader.left == 0


def test_a_failure_reaches_the_leader_and_gives_the_others_back() -> None:
    leader, follower = waiter(), waiter()
    flight = Flight(b"k", leader, 0)
    flight.join(follower, 0)
    assert flight.fail(ValueError("no")) == [(follower, 0)]
    assert not follower.ends
    assert [str(error) for error in leader.ends] == ["no"]


def test_a_failure_after_the_leader_left_fails_nobody() -> None:
    leader, follower = waiter(), waiter()
    flight = Flight(b"k", leader, 0)
    flight.join(follower, 0)
    assert leader.leave() == []
    assert flight.fail(ValueError("no")) == [(follower, 0)]
    assert not leader.ends


def test_the_last_to_leave_a_flight_empties_it() -> None:
    leader, follower = waiter(), waiter()
    flight = Flight(b"k", leader, 0)
    flight.join(follower, 0)
    assert leader.leave() == []
    assert follower.leave() == [flight]
    flight.land(ROW, "miss")
    assert follower.left == 1


def test_a_late_row_does_not_trouble_a_waiter_that_has_failed() -> None:
    one = waiter(2)
    flights = [Flight(b"a", one, 0), Flight(b"b", one, 1)]
    flights[0].fail(ValueError("no"))
    flights[1].land(ROW, "miss")
    flights[0].fail(ValueError("again"))
    assert [str(error) for error in one.ends] == ["no"]
