"""Rows that are known are answered, equal rows are computed once, and nobody's failure is another's."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from modelyard.errors import BackendError, Overloaded
from tests.unit.cache.fakes import MODEL, Bench, settle


async def test_a_miss_is_computed_and_then_a_hit() -> None:
    bench = Bench()
    first = bench.start(1, 2)
    await settle()
    (call,) = bench.model.calls
    assert (call.inputs, call.rows) == ([[1.0], [2.0]], 2)
    call.answer()
    assert await first == ([10.0, 20.0], ["miss", "miss"])
    assert await bench.ask(2, 1) == ([20.0, 10.0], ["hit_memory", "hit_memory"])
    assert len(bench.model.calls) == 1
    assert bench.admitted == [2]


async def test_of_a_batch_only_the_unknown_rows_are_computed() -> None:
    bench = Bench()
    first = bench.start(2, 4)
    await settle()
    bench.model.calls[0].answer()
    await first
    second = bench.start(1, 2, 3, 4, 5)
    await settle()
    assert bench.model.calls[1].inputs == [[1.0], [3.0], [5.0]]
    bench.model.calls[1].answer()
    assert await second == ([10.0, 20.0, 30.0, 40.0, 50.0], ["miss", "hit_memory", "miss", "hit_memory", "miss"])
    assert bench.admitted == [2, 3]


async def test_identical_rows_in_flight_are_computed_once() -> None:
    bench = Bench()
    tasks = [bench.start(7) for _ in range(20)]
    await settle()
    assert len(bench.model.calls) == 1
    bench.model.calls[0].answer()
    answers = await asyncio.gather(*tasks)
    assert [values for values, _ in answers] == [[70.0]] * 20
    assert sorted(result for _, (result,) in answers) == ["join"] * 19 + ["miss"]


async def test_identical_rows_in_one_request_are_computed_once() -> None:
    bench = Bench()
    task = bench.start(3, 3, 3)
    await settle()
    assert bench.model.calls[0].inputs == [[3.0]]
    bench.model.calls[0].answer()
    assert await task == ([30.0] * 3, ["miss", "join", "join"])


async def test_a_request_joins_what_flies_and_computes_the_rest() -> None:
    bench = Bench()
    one, two = bench.start(1, 2), bench.start(2, 3)
    await settle()
    assert [call.inputs for call in bench.model.calls] == [[[1.0], [2.0]], [[3.0]]]
    for call in bench.model.calls:
        call.answer()
    assert await one == ([10.0, 20.0], ["miss", "miss"])
    assert await two == ([20.0, 30.0], ["join", "miss"])


async def test_a_cancelled_leader_leaves_its_followers_their_answer() -> None:
    bench = Bench()
    leader, follower = bench.start(1), bench.start(1)
    await settle()
    leader.cancel()
    await settle()
    assert bench.model.calls[0].wanted()
    bench.model.calls[0].answer()
    assert (await follower)[0] == [10.0]
    assert leader.cancelled()
    assert len(bench.model.calls) == 1


async def test_work_that_everybody_left_is_not_wanted_and_can_be_asked_for_again() -> None:
    bench = Bench()
    leader, follower = bench.start(1), bench.start(1)
    await settle()
    for task in (leader, follower):
        task.cancel()
    await settle()
    assert not bench.model.calls[0].wanted()
    again = bench.start(1)
    await settle()
    assert len(bench.model.calls) == 2
    bench.model.calls[1].answer()
    assert await again == ([10.0], ["miss"])


async def test_a_failing_leader_does_not_fail_its_followers() -> None:
    bench = Bench()
    leader, one, two = bench.start(1), bench.start(1), bench.start(1)
    await settle()
    bench.model.calls[0].done(BackendError(MODEL))
    await settle()
    with pytest.raises(BackendError):
        await leader
    assert len(bench.model.calls) == 2
    bench.model.calls[1].answer()
    assert [(await task)[0] for task in (one, two)] == [[10.0], [10.0]]


async def test_an_error_that_comes_again_is_everybodys_and_is_not_tried_a_third_time() -> None:
    bench = Bench()
    tasks = [bench.start(1) for _ in range(10)]
    await settle()
    for call in range(2):
        bench.model.calls[call].done(BackendError(MODEL))
        await settle()
    assert all(isinstance(error, BackendError) for error in await asyncio.gather(*tasks, return_exceptions=True))
    assert len(bench.model.calls) == 2


async def test_a_failing_row_of_a_batch_gives_its_followers_only_their_own_row_to_compute() -> None:
    bench = Bench()
    leader, follower = bench.start(1, 2), bench.start(5, 2)
    await settle()
    bench.model.calls[0].done(BackendError(MODEL))
    await settle()
    assert [call.inputs for call in bench.model.calls] == [[[1.0], [2.0]], [[5.0]], [[2.0]]]
    for call in bench.model.calls[1:]:
        call.answer()
    assert (await follower)[0] == [50.0, 20.0]
    with pytest.raises(BackendError):
        await leader


async def test_after_a_failure_the_row_is_computed_anew() -> None:
    bench = Bench()
    failing = bench.start(1)
    await settle()
    bench.model.calls[0].done(BackendError(MODEL))
    with pytest.raises(BackendError):
        await failing
    again = bench.start(1)
    await settle()
    bench.model.calls[1].answer()
    assert await again == ([10.0], ["miss"])


async def test_a_refusal_to_queue_reaches_the_caller_and_leaves_nothing_behind() -> None:
    bench = Bench()
    bench.model.refusal = Overloaded("full")
    with pytest.raises(Overloaded):
        await bench.ask(1)
    bench.model.refusal = None
    task = bench.start(1)
    await settle()
    bench.model.calls[0].answer()
    assert (await task)[1] == ["miss"]


async def test_a_refusal_by_admission_starts_no_work_and_hits_are_not_asked() -> None:
    bench = Bench()
    task = bench.start(1)
    await settle()
    bench.model.calls[0].answer()
    await task

    def refuse(_: int) -> None:
        raise Overloaded("full")

    outputs, results = await bench.infer(*bench.request(1), refuse, limit=60)
    assert (outputs[0].tolist(), results) == ([[10.0]], ["hit_memory"])
    with pytest.raises(Overloaded):
        await bench.infer(*bench.request(1, 2), refuse, limit=60)
    assert len(bench.model.calls) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
async def test_a_row_that_is_no_number_is_answered_but_not_kept(bad: float) -> None:
    bench = Bench()
    task = bench.start(1, 2)
    await settle()
    bench.model.calls[0].answer([np.array([[bad], [20.0]], np.float32)])
    values, _ = await task
    np.testing.assert_array_equal(values, [bad, 20.0])
    again = bench.start(1, 2)
    await settle()
    assert bench.model.calls[1].inputs == [[1.0]]
    bench.model.calls[1].answer()
    assert (await again)[1] == ["miss", "hit_memory"]


@pytest.mark.parametrize(("bits", "kept"), [(0x7F80, False), (0xFFC1, False), (0x7F7F, True), (0x3F80, True)])
async def test_bf16_infinities_and_nans_are_told_by_their_bits(bits: int, kept: bool) -> None:
    bench = Bench(datatype="BF16")
    task = bench.start(1)
    await settle()
    bench.model.calls[0].answer([np.array([[bits]], np.uint16)])
    await task
    assert bench.memory is not None
    assert len(bench.memory) == kept


async def test_kept_rows_are_not_those_that_the_model_may_write_on() -> None:
    bench = Bench()
    buffer = np.array([[10.0]], np.float32)
    task = bench.start(1)
    await settle()
    bench.model.calls[0].answer([buffer])
    await task
    buffer[:] = -1
    outputs, _ = await bench.infer(*bench.request(1), bench.admitted.append, limit=60)
    assert outputs[0].tolist() == [[10.0]]
    with pytest.raises(ValueError, match="read-only"):
        outputs[0][0, 0] = 5


async def test_without_a_batch_dimension_the_request_is_one_row() -> None:
    bench = Bench(batched=False)
    task = bench.start(1, 2)
    await settle()
    assert (bench.model.calls[0].inputs, bench.model.calls[0].rows) == ([[1.0], [2.0]], 1)
    bench.model.calls[0].answer([np.array([5.0], np.float32)])
    assert await task == ([5.0], ["miss"])
    assert await bench.ask(1, 2) == ([5.0], ["hit_memory"])
    other = bench.start(2, 1)
    await settle()
    assert len(bench.model.calls) == 2
    other.cancel()


async def test_priority_reaches_the_model() -> None:
    bench = Bench()
    task = bench.start(1, priority=1)
    await settle()
    assert bench.model.calls[0].priority == 1
    bench.model.calls[0].answer()
    await task


async def test_without_the_memory_tier_equal_rows_in_flight_still_join() -> None:
    bench = Bench(memory=False)
    tasks = [bench.start(1), bench.start(1)]
    await settle()
    bench.model.calls[0].answer()
    assert [result for _, (result,) in await asyncio.gather(*tasks)] == ["miss", "join"]
    again = bench.start(1)
    await settle()
    assert len(bench.model.calls) == 2
    again.cancel()


async def test_a_request_waits_no_longer_than_its_limit_and_leaves_others_theirs() -> None:
    bench = Bench()
    patient = bench.start(1)
    await settle()
    with pytest.raises(TimeoutError):
        await bench.ask(1, limit=0.001)
    bench.model.calls[0].answer()
    assert (await patient)[0] == [10.0]


async def test_a_row_whose_leader_ran_out_of_time_is_not_wanted_and_can_be_asked_for_again() -> None:
    bench = Bench()
    with pytest.raises(TimeoutError):
        await bench.ask(1, limit=0.001)
    assert not bench.model.calls[0].wanted()
    again = bench.start(1)
    await settle()
    assert len(bench.model.calls) == 2
    bench.model.calls[1].answer()
    await again
