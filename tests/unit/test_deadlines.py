"""Many deadlines behind one timer: each expires once, in time, unless it was discarded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard import deadlines
from modelyard.call import Call
from modelyard.deadlines import Deadlines
from tests.unit.clock import Clock


@contextmanager
def stopped_time() -> Iterator[Clock]:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadlines, "time", clock)
        patch.setattr(deadlines, "asyncio", SimpleNamespace(get_running_loop=lambda: clock, Event=asyncio.Event))
        yield clock


@pytest.fixture(name="clock")
def _clock() -> Iterator[Clock]:
    with stopped_time() as clock:
        yield clock


def ends(made: list[str], name: str) -> Callable[[], None]:
    return lambda: made.append(name)


def test_each_expires_when_its_time_is_over(clock: Clock) -> None:
    open_, made = Deadlines(), list[str]()
    for name, seconds in (("late", 30), ("soon", 1), ("next", 2)):
        open_.add(seconds, ends(made, name))
    clock.advance(0.5)
    assert (made, len(open_)) == ([], 3)
    clock.advance(0.5)
    assert (made, len(open_)) == (["soon"], 2)
    clock.advance(100)
    assert (made, len(open_)) == (["soon", "next", "late"], 0)


def test_a_discarded_one_never_expires_and_may_be_discarded_again(clock: Clock) -> None:
    open_, made = Deadlines(), list[str]()
    ticket = open_.add(1, ends(made, "discarded"))
    open_.add(1, ends(made, "kept"))
    open_.discard(ticket)
    open_.discard(ticket)
    clock.advance(2)
    assert (made, len(open_)) == (["kept"], 0)


def test_one_that_ends_others_as_it_expires(clock: Clock) -> None:
    open_, made = Deadlines(), list[str]()
    tickets = list[int]()

    def end_the_others() -> None:
        made.append("first")
        for ticket in tickets:
            open_.discard(ticket)

    open_.add(1, end_the_others)
    tickets += [open_.add(1, ends(made, "second")), open_.add(9, ends(made, "third"))]
    clock.advance(10)
    assert (made, len(open_)) == (["first"], 0)


def test_one_that_adds_another_as_it_expires(clock: Clock) -> None:
    open_, made = Deadlines(), list[str]()
    open_.add(1, lambda: made.append(f"first, then {open_.add(1, ends(made, 'second'))}"))
    open_.add(60, ends(made, "third"))
    clock.advance(1)
    assert made == ["first, then 2"]
    clock.advance(1)
    assert made[1:] == ["second"]
    clock.advance(58)
    assert made[2:] == ["third"]


def test_one_that_fails_as_it_expires_takes_nobody_with_it(clock: Clock) -> None:
    open_, made = Deadlines(), list[str]()
    open_.add(1, lambda: made.append(str(1 // 0)))
    open_.add(1, ends(made, "second"))
    open_.add(2, ends(made, "third"))
    for _ in range(3):
        with suppress(ZeroDivisionError):  # an event loop reports what a callback raises, and goes on
            clock.advance(1)
    assert made == ["second", "third"]


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 12)),
    st.tuples(st.just("discard"), st.integers(0, 30)),
    st.tuples(st.just("pass"), st.integers(1, 5)),
)


@given(st.lists(STEPS, max_size=60))
def test_whatever_comes_and_goes_each_expires_once_and_in_time(steps: list[tuple[str, int]]) -> None:
    with stopped_time() as clock:
        open_, made = Deadlines(), list[str]()
        due: dict[int, float] = {}
        tickets = 0
        for step, number in steps:
            if step == "add":
                ticket = open_.add(number, ends(made, str(tickets)))
                due[ticket], tickets = clock.now + number, tickets + 1
            elif step == "discard":
                open_.discard(number)
                due.pop(number, None)
            else:
                clock.advance(number)
                over = sorted(str(ticket) for ticket, when in due.items() if when <= clock.now)
                assert sorted(made) == over
                due = {ticket: when for ticket, when in due.items() if when > clock.now}
                made.clear()
            assert len(open_) == len(due)
            assert len(clock.timers) <= 1, "one timer for all"


async def test_waiting_until_all_are_over() -> None:
    open_ = Deadlines()
    await open_.empty()
    tickets = [open_.add(60, lambda: None) for _ in range(2)]
    waiting = asyncio.get_running_loop().create_task(open_.empty())
    for ticket in tickets:
        await asyncio.sleep(0)
        assert not waiting.done()
        open_.discard(ticket)
    await asyncio.wait_for(waiting, 5)
    open_.add(0.001, lambda: None)
    await asyncio.wait_for(open_.empty(), 5)
    assert len(open_) == 0


async def test_several_may_wait_until_all_are_over() -> None:
    open_ = Deadlines()
    ticket = open_.add(60, lambda: None)
    waiting = [asyncio.get_running_loop().create_task(open_.empty()) for _ in range(2)]
    await asyncio.sleep(0)
    open_.discard(ticket)
    done, left = await asyncio.wait(waiting, timeout=0.5)
    for task in left:
        task.cancel()
    assert len(done) == 2


async def test_all_can_be_ended_at_once_with_something_else_than_their_deadline() -> None:
    deadlines = Deadlines()
    answers: list[object] = []
    calls = [Call[int](deadlines, limit, answers.append) for limit in (10.0, 20.0)]
    lost = RuntimeError("lost")
    deadlines.end_all(lost)
    assert answers == [lost, lost]
    assert not any(call.open for call in calls)
    assert len(deadlines) == 0
    Call[int](deadlines, 30.0, answers.append)
    await deadlines.empty()
    assert answers == [lost] * 3
