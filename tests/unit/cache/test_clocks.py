"""A busy event loop's own delay is nobody else's fault, and what work costs is not what it waits."""

from __future__ import annotations

import asyncio
import time

import pytest

from modelyard.cache import clocks
from modelyard.cache.clocks import LATE, STEPS, Metered, Patience, patient_timeout
from tests.unit.clock import Clock

LIMIT = 1.0


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Both the time and the loop that Patience sees."""
    clock = Clock()
    monkeypatch.setattr(clocks, "time", clock)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    return clock


def test_patience_is_over_when_its_time_is(clock: Clock) -> None:
    over: list[float] = []
    Patience(LIMIT, lambda: over.append(clock.now))
    clock.advance(0.99 * LIMIT)
    assert not over
    clock.advance(0.02 * LIMIT)
    assert over == [pytest.approx(1000.0 + LIMIT)]
    clock.advance(10 * LIMIT)
    assert len(over) == 1


def test_cancelled_patience_is_never_over(clock: Clock) -> None:
    over: list[float] = []
    patience = Patience(LIMIT, lambda: over.append(clock.now))
    clock.advance(0.5 * LIMIT)
    patience.cancel()
    clock.advance(10 * LIMIT)
    assert not over
    assert not clock.timers


def test_a_loop_that_is_late_has_time_for_some_turns_before_patience_is_over(clock: Clock) -> None:
    """Each timer fires long after its time, as in a loop whose every turn takes twice the whole limit."""
    over: list[float] = []
    Patience(LIMIT, lambda: over.append(clock.now))
    turns = 0
    while not over:
        clock.now += 2 * LIMIT
        clock.advance(0.0)
        turns += 1
    assert turns == pytest.approx(STEPS / LATE, abs=1)


async def test_one_stall_longer_than_the_limit_is_no_timeout() -> None:
    async with patient_timeout(0.2):
        time.sleep(0.25)  # noqa: ASYNC251  (the stall)
        await asyncio.sleep(0)


async def test_an_answer_that_does_not_come_is_a_timeout() -> None:
    started = time.perf_counter()
    with pytest.raises(TimeoutError):
        async with patient_timeout(0.05):
            await asyncio.get_running_loop().create_future()
    assert time.perf_counter() - started >= 0.045


async def test_metered_work_answers_and_costs_its_own_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(clocks, "time", clock)

    async def work() -> str:
        clock.now += 1.0
        await asyncio.sleep(0)
        clock.now += 2.0
        return "done"

    async def other() -> None:
        clock.now += 10.0

    metered = Metered(work())
    neighbour = asyncio.create_task(other())
    assert await metered == "done"
    await neighbour
    assert metered.seconds == 3.0


async def test_metered_work_may_catch_what_is_thrown_into_it() -> None:
    async def work() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "cleaned up"
        return "never"

    async def metered() -> str:
        return await Metered(work())

    task = asyncio.create_task(metered())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "cleaned up"


async def test_an_error_of_metered_work_is_its_callers() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        await Metered(work())
