"""The chain and the device: want of memory, a lost context, runs that hang, links that are adopted later."""

from __future__ import annotations

import pytest

from modelyard.backends.base import DeviceLost, OutOfMemory
from modelyard.backends.engine.shapes import OutsideProfile
from modelyard.backends.select import BREAKER, PENDING, REPROBE_SECONDS
from tests.unit.backends.test_select import CPU, CUDA, TRT, Bench, Link
from tests.unit.strategies import metric


@pytest.mark.parametrize(("error", "reason"), [(OutOfMemory("none left"), "memory"), (OutsideProfile("9"), "shape")])
def test_what_says_nothing_against_a_link_falls_back_and_counts_against_nobody(error: Exception, reason: str) -> None:
    b = Bench(CUDA, CPU)
    b.links[CUDA].error = error
    labels = {"model": "chained", "from": CUDA, "to": CPU, "reason": reason}
    before = metric("backend_fallbacks_total", **labels)
    assert [b.infer() for _ in range(3 * BREAKER)] == [CPU] * 3 * BREAKER
    assert b.chain.active.name == CUDA
    assert metric("backend_fallbacks_total", **labels) == before + 3 * BREAKER
    b.links[CUDA].error = None
    assert b.infer() == CUDA


def test_a_lost_device_fails_every_run_from_then_on_and_asks_no_other_link() -> None:
    b = Bench(TRT, CUDA, CPU)
    b.links[TRT].error = DeviceLost("CUDA error 700")
    before = metric("backend_errors_total", model="chained", backend=TRT, reason="lost")
    for _ in range(2):
        with pytest.raises(DeviceLost, match="700"):
            b.infer()
    assert (b.links[TRT].runs, b.links[CUDA].runs, b.links[CPU].runs) == (1, 0, 0)
    assert not b.chain.sufficient
    assert "700" in b.chain.lost
    assert metric("backend_errors_total", model="chained", backend=TRT, reason="lost") == before + 1


def test_a_link_that_is_pending_is_no_fallback_until_it_is_refused() -> None:
    labels = {"model": "chained", "from": TRT, "to": CUDA, "reason": "unavailable"}
    before = metric("backend_fallbacks_total", **labels)
    b = Bench(TRT, CUDA, CPU, pending=[TRT])
    assert b.infer() == CUDA
    assert b.chain.degraded == f"{TRT}: {PENDING}"
    assert metric("backend_fallbacks_total", **labels) == before
    for _ in range(2):
        b.chain.refuse(TRT, "no driver")
    assert b.chain.degraded == f"{TRT}: no driver"
    assert metric("backend_fallbacks_total", **labels) == before + 1


def test_an_adopted_link_runs_what_comes_and_the_one_below_stays_its_fallback() -> None:
    b = Bench(TRT, CPU, pending=[TRT])
    b.chain.adopt(b.links[TRT])
    assert b.infer() == TRT
    assert b.chain.degraded == ""
    assert (metric("backend_active", model="chained", backend=TRT), b.chain.refusals) == (1, {})
    b.links[TRT].error = RuntimeError("broken")
    assert b.infer() == CPU
    assert not b.links[CPU].closed


def test_a_run_under_way_ends_where_it_began_when_a_link_is_adopted() -> None:
    b = Bench(TRT, CPU, pending=[TRT])
    b.links[CPU].meanwhile = lambda: b.chain.adopt(b.links[TRT])
    assert b.infer() == CPU
    assert b.infer() == TRT


def test_adopting_again_replaces_and_closes_the_former_link() -> None:
    b = Bench(TRT, CPU)
    newer = Link(TRT)
    b.chain.adopt(newer)
    b.infer()
    assert (newer.runs, b.links[TRT].runs, b.links[TRT].closed) == (1, 0, True)


def test_a_link_that_comes_after_the_end_is_closed() -> None:
    b = Bench(TRT, CPU, pending=[TRT])
    b.chain.close()
    b.chain.adopt(b.links[TRT])
    assert b.links[TRT].closed


def test_the_reference_is_the_best_link_that_is_no_engine() -> None:
    assert Bench(TRT, CUDA, CPU, pending=[TRT]).chain.reference().name == CUDA
    assert Bench(TRT, CPU, pending=[TRT]).chain.reference().name == CPU


def test_while_a_run_hangs_the_model_is_not_ready_and_new_runs_go_to_the_next_link() -> None:
    b = Bench(CUDA, CPU)
    labels = {"model": "chained", "from": CUDA, "to": CPU, "reason": "hang"}
    before = metric("backend_fallbacks_total", **labels)
    sufficient = [b.chain.sufficient]
    b.chain.hang(hangs=True)
    sufficient.append(b.chain.sufficient)
    b.now += 2 * REPROBE_SECONDS
    assert b.infer() == CPU
    assert metric("backend_fallbacks_total", **labels) == before + 1
    b.chain.hang(hangs=False)
    sufficient.append(b.chain.sufficient)
    assert sufficient == [True, False, True]
    b.now += REPROBE_SECONDS
    assert b.infer() == CUDA
