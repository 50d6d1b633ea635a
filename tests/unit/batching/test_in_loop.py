"""Which runs go into the event loop, and what ends that."""

from __future__ import annotations

from modelyard.batching.cost import CostModel
from modelyard.batching.in_loop import SURPRISE, SUSPENSION, WATCHED_ONE_IN, InLoop

LIMIT = 0.001
LONG = LIMIT * SURPRISE * 1.1


def cheap() -> InLoop:
    return InLoop(LIMIT, CostModel(LIMIT / 10))


def test_what_costs_less_than_the_limit_is_allowed() -> None:
    in_loop = cheap()
    assert in_loop.allows(8)
    assert not in_loop.allows(16)  # in proportion, as long as it was not measured


def test_one_run_in_some_is_watched_and_the_first_is() -> None:
    in_loop = cheap()
    assert [in_loop.watch() for _ in range(WATCHED_ONE_IN + 1)] == [True, *[False] * (WATCHED_ONE_IN - 1), True]


def test_a_run_that_was_seen_to_cost_far_more_is_the_last_one() -> None:
    in_loop = cheap()
    assert in_loop.ran(LONG, LONG / 2)  # it took long, but the process was not let run
    in_loop = cheap()
    assert not in_loop.ran(LONG, LONG)
    assert not in_loop.allows(1)


def test_a_run_that_took_long_suspends_until_threads_have_shown_that_it_was_not_the_model() -> None:
    in_loop = cheap()
    assert in_loop.ran(LONG, None)
    for _ in range(SUSPENSION):
        assert not in_loop.allows(1)
        in_loop.ran_in_thread(1, LIMIT / 10)
    assert in_loop.allows(1)


def test_a_long_run_in_a_thread_while_suspended_ends_it_for_good() -> None:
    in_loop = cheap()
    in_loop.ran(LONG, None)
    in_loop.ran_in_thread(1, LONG)
    for _ in range(SUSPENSION):
        in_loop.ran_in_thread(1, 0.0)
    assert not in_loop.allows(1)


def test_large_batches_in_threads_say_nothing_of_small_ones() -> None:
    in_loop = cheap()
    in_loop.ran_in_thread(1024, LONG)
    assert in_loop.allows(1)
