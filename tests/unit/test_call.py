"""A call ends once, however many ends come to it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref

import pytest

from modelyard.call import Call, settle
from modelyard.deadlines import Deadlines
from modelyard.errors import Cancelled, DeadlineExceeded, Overloaded

ENDS = ["answered", "failed", "cancelled", "expired"]


class Asked:
    """A call with all that hangs on it."""

    def __init__(self, limit: float = 60.0) -> None:
        self.deadlines = Deadlines()
        self.outcomes: list[str | Exception] = []
        self.left = 0
        self.call: Call[str] = Call(self.deadlines, limit, self.outcomes.append)
        self.call.left = self.leave

    def leave(self) -> None:
        assert self.outcomes, "the caller is answered before the work is dropped"
        self.left += 1

    def end(self, how: str) -> None:
        match how:
            case "answered":
                self.call.end("answer")
            case "failed":
                self.call.end(Overloaded("full"))
            case "cancelled":
                self.call.cancel()
            case "expired":
                self.call._expire()


@pytest.mark.parametrize("ends", list(itertools.permutations(ENDS, 2)))
async def test_only_the_first_end_counts(ends: tuple[str, str]) -> None:
    asked = Asked()
    assert asked.call.wanted()
    asked.end(ends[0])
    first = list(asked.outcomes)
    asked.end(ends[1])
    assert asked.outcomes == first
    assert len(first) == 1
    assert not asked.call.wanted()
    assert asked.left == (ends[0] in ("cancelled", "expired"))
    assert len(asked.deadlines) == 0, "its deadline went with it"


async def test_each_end_says_what_it_was() -> None:
    outcomes = {}
    for how in ENDS:
        asked = Asked(limit=2.5)
        asked.end(how)
        (outcomes[how],) = asked.outcomes
    assert outcomes["answered"] == "answer"
    assert isinstance(outcomes["failed"], Overloaded)
    assert isinstance(outcomes["cancelled"], Cancelled)
    assert isinstance(outcomes["expired"], DeadlineExceeded)
    assert "2.5 s" in str(outcomes["expired"])


async def test_a_call_that_nobody_ends_runs_out_of_time() -> None:
    asked = Asked(limit=0.001)
    await asyncio.wait_for(asked.deadlines.empty(), 5)
    assert isinstance(asked.outcomes[0], DeadlineExceeded)
    assert asked.left == 1


async def test_a_caller_that_cancels_as_it_is_answered_is_answered_once() -> None:
    outcomes: list[object] = []

    def respond(outcome: object) -> None:
        outcomes.append(outcome)
        call.cancel()

    call: Call[str] = Call(Deadlines(), 60, respond)
    call.end("answer")
    assert outcomes == ["answer"]


@pytest.mark.parametrize("how", ENDS)
async def test_what_hangs_on_a_call_is_freed_with_its_end(how: str) -> None:
    """`left` leads back to the call: without help only the garbage collector would find them."""

    class Work:
        def leave(self) -> None: ...

    work = Work()
    gone = weakref.ref(work)
    asked = Asked()
    asked.call.left = work.leave
    del work
    assert gone() is not None
    gc.disable()
    try:
        asked.end(how)
        assert gone() is None
    finally:
        gc.enable()


async def test_settle_gives_a_future_its_end_once() -> None:
    loop = asyncio.get_running_loop()
    good: asyncio.Future[int] = loop.create_future()
    settle(good, 1)
    settle(good, 2)
    assert await good == 1
    bad: asyncio.Future[int] = loop.create_future()
    settle(bad, Overloaded("full"))
    settle(bad, 1)
    with pytest.raises(Overloaded):
        await bad


async def test_settle_leaves_a_cancelled_future_alone() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.cancel()
    settle(future, 1)
    settle(future, Overloaded("full"))
    assert future.cancelled()
