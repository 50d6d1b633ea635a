"""The queue before a model. A gate holds the model: what waits meanwhile is known, not guessed by time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from modelyard.batching import batcher as module
from modelyard.batching.in_loop import SURPRISE
from modelyard.batching.item import Item, Result
from tests.unit.batching.bench import Make


class Clock:
    """In place of the module `time`: wall time stands still, CPU time is what the test says."""

    def __init__(self, now: float, cpu: Sequence[float] = ()) -> None:
        self.now = now
        self.cpu = iter(cpu)

    def perf_counter(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return next(self.cpu)


def numbers(result: Result) -> list[float]:
    assert not isinstance(result, Exception), result
    values: list[float] = result[0].ravel().tolist()
    return values


async def test_what_arrives_in_one_turn_of_the_loop_is_one_batch(bench: Make) -> None:
    b = bench()
    answers = await asyncio.gather(b.submit(1, 2), b.submit(3), b.submit(4, 5))
    assert [numbers(answer) for answer in answers] == [[10, 20], [30], [40, 50]]
    assert b.ran == [[1, 2, 3, 4, 5]]
    (execution,) = b.executions
    assert (execution.rows, execution.requests, execution.retried, execution.failed) == (5, 3, False, 0)
    assert len(execution.queue_seconds) == 3


async def test_what_waits_for_a_busy_executor_is_one_batch(bench: Make) -> None:
    b = bench()
    await b.occupy()
    waiting = []
    for number in (1, 2, 3):
        waiting.append(b.submit(number))
        await asyncio.sleep(0)
    assert b.batcher.queued_rows == 3
    b.gate.set()
    await asyncio.gather(*waiting)
    assert b.ran == [[0], [1, 2, 3]]
    assert (b.batcher.queued_rows, b.batcher.estimated_wait()) == (0, 0)


async def test_a_batch_holds_rows_not_requests_and_splits_no_request(bench: Make) -> None:
    b = bench(max_batch_size=4)
    answers = await asyncio.gather(b.submit(1, 2, 3), b.submit(4, 5), b.submit(6, 7), b.submit(8, 9, 10, 11))
    assert b.ran == [[1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert numbers(answers[2]) == [60, 70]


async def test_without_a_batch_dimension_every_item_runs_alone(bench: Make) -> None:
    b = bench(max_batch_size=0)
    await asyncio.gather(b.submit(1), b.submit(2))
    assert b.ran == [[1], [2]]


async def test_only_equal_signatures_share_a_batch(bench: Make) -> None:
    b = bench()
    await asyncio.gather(b.submit(1, signature="a"), b.submit(2, signature="b"), b.submit(3, signature="a"))
    assert b.ran == [[1, 3], [2]]


async def test_priority_one_goes_first_and_the_rest_by_arrival(bench: Make) -> None:
    b = bench(max_batch_size=1)
    await b.occupy()
    waiting = [b.submit(1), b.submit(2, priority=2), b.submit(3, priority=1), b.submit(4)]
    b.gate.set()
    await asyncio.gather(*waiting)
    assert b.ran == [[0], [3], [1], [2], [4]]


async def test_what_nobody_wants_any_more_is_not_run(bench: Make) -> None:
    b = bench()
    await b.occupy()
    wanted = True
    dropped = b.submit(1, wanted=lambda: wanted, nbytes=100)
    kept = b.submit(2, nbytes=10)
    assert b.batcher.queued_bytes == 110
    wanted = False
    b.gate.set()
    await kept
    assert b.ran == [[0], [2]]
    assert not dropped.done()
    assert (b.batcher.queued_rows, b.batcher.queued_bytes) == (0, 0)


async def test_a_failing_batch_is_run_again_one_by_one_and_fails_the_bad_one_alone(bench: Make) -> None:
    b = bench()
    one, bad, two = await asyncio.gather(b.submit(1), b.submit(-1), b.submit(2, 3))
    assert (numbers(one), numbers(two)) == ([10], [20, 30])
    assert isinstance(bad, RuntimeError)
    assert b.ran == [[1, -1, 2, 3], [1], [-1], [2, 3]]
    assert (b.executions[0].retried, b.executions[0].failed) == (True, 1)


async def test_a_single_failing_request_is_not_run_again(bench: Make) -> None:
    b = bench()
    assert isinstance(await b.submit(-1), RuntimeError)
    assert b.ran == [[-1]]
    assert (b.executions[0].retried, b.executions[0].failed) == (False, 1)


async def test_failures_and_a_done_that_raises_do_not_stop_the_queue(bench: Make) -> None:
    b = bench()

    def explode(_: Result) -> None:
        raise ValueError("in the caller")

    b.batcher.submit(Item([np.ones((1, 1))], 1, "s", ("y",), explode, lambda: True))
    assert numbers(await b.submit(2)) == [20]
    assert numbers(await b.submit(3)) == [30]


async def test_a_batch_is_padded_to_its_bucket_and_the_padding_is_not_answered(bench: Make) -> None:
    b = bench(buckets=(4, 8))
    assert numbers(await b.submit(1, 2, 3)) == [10, 20, 30]
    assert b.ran == [[1, 2, 3, 3]]
    assert b.executions[0].rows == 3


async def test_a_cheap_model_runs_in_the_event_loop(bench: Make) -> None:
    b = bench(inline_seconds=0.1, row_seconds=0.0001)
    await asyncio.gather(b.submit(1), b.submit(2))
    assert b.threads == [threading.get_ident()]


async def test_a_batch_that_would_cost_more_than_the_limit_runs_in_a_thread(bench: Make) -> None:
    b = bench(inline_seconds=0.001, row_seconds=0.0004)
    await asyncio.gather(b.submit(1), b.submit(2), b.submit(3))
    assert b.threads != [threading.get_ident()]


async def test_a_surprise_in_the_event_loop_is_the_last_one_there(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench(inline_seconds=0.001, row_seconds=0.0001)
    surprising = 0.001 * SURPRISE * 1.1
    monkeypatch.setattr(module, "time", Clock(time.perf_counter(), [0.0, 0.0, 0.0, surprising, 0.0, 0.0]))
    await b.submit(1)
    await b.submit(2)
    assert b.threads[0] == threading.get_ident()
    assert b.threads[1] != threading.get_ident()


async def test_the_estimated_wait_is_what_is_queued_and_running_shared_by_the_executors(bench: Make) -> None:
    b = bench(executors=2, max_batch_size=4, row_seconds=100.0)
    held = [await b.occupy(), await b.occupy()]
    assert b.batcher.estimated_wait() == pytest.approx(100, abs=10)
    waiting = [b.submit(1, 2, 3, 4), b.submit(5)]
    assert b.batcher.estimated_wait() == pytest.approx(200, abs=10)
    b.gate.set()
    await asyncio.gather(*held, *waiting)
    assert b.batcher.estimated_wait() == 0


async def test_a_run_that_hangs_makes_the_estimated_wait_grow_with_its_age(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench(row_seconds=0.5)
    held = await b.occupy()
    now = time.perf_counter()
    assert b.batcher.estimated_wait() <= 0.5
    for seconds in (60, 120):
        monkeypatch.setattr(module, "time", Clock(now + seconds))
        assert seconds - 1 <= b.batcher.estimated_wait() <= seconds + 1
    monkeypatch.undo()
    b.gate.set()
    await held
    assert b.batcher.estimated_wait() == 0


async def test_one_hanging_run_of_two_executors_keeps_nobody_out(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench(executors=2, row_seconds=0.5)
    held = await b.occupy()
    now = time.perf_counter()
    monkeypatch.setattr(module, "time", Clock(now + 60))
    assert b.batcher.estimated_wait() == 0
    monkeypatch.undo()
    b.gate.set()
    await held


async def test_the_measured_cost_follows_good_runs_and_ignores_failed_ones(bench: Make) -> None:
    b = bench(row_seconds=1.0)
    await b.submit(-1)
    assert b.cost.expected(1) == 1.0
    await b.submit(1)
    assert b.cost.expected(1) < 0.9


async def test_both_executors_run_at_once(bench: Make) -> None:
    b = bench(executors=2)
    held = await b.occupy()
    other = b.submit(1)
    await asyncio.sleep(0)
    assert await asyncio.to_thread(b.started.acquire, timeout=10)
    b.gate.set()
    await asyncio.gather(held, other)
