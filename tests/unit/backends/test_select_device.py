"""The chain and the device: want of memory, a lost context, runs that hang, links that are adopted later."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from modelyard.backends.base import Backend, DeviceLost, OutOfMemory
from modelyard.backends.engine.shapes import OutsideProfile
from modelyard.backends.select import BREAKER, PENDING, REPROBE_SECONDS
from modelyard.spec import BackendSpec, ModelSpec
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


def test_where_a_link_had_no_memory_and_none_answers_it_is_the_memory_that_is_told() -> None:
    b = Bench(TRT, CUDA, CPU)
    for link, error in zip(
        b.links.values(), (OutsideProfile("9"), OutOfMemory("none"), RuntimeError("x")), strict=True
    ):
        link.error = error
    with pytest.raises(OutOfMemory):
        b.infer()


def test_a_trial_of_a_better_link_that_hangs_is_charged_to_that_link() -> None:
    b = Bench(TRT, CUDA, CPU)
    b.demote()
    b.links[TRT].error = None
    b.now += REPROBE_SECONDS
    before = [metric("backend_errors_total", model="chained", backend=name, reason="hang") for name in (TRT, CUDA)]
    lost = metric("backend_errors_total", model="chained", backend=TRT, reason="lost")
    runs = b.links[TRT].runs
    said: list[object] = []

    def meanwhile() -> None:
        b.chain.hang(hangs=True)
        said.extend([b.chain.active.name, b.chain.sufficient])
        b.chain.lose("it does not come back")

    b.links[TRT].meanwhile = meanwhile
    other = threading.Thread(target=b.infer)
    other.start()
    other.join()
    assert said == [CUDA, False]
    assert metric("backend_errors_total", model="chained", backend=TRT, reason="lost") == lost + 1
    after = [metric("backend_errors_total", model="chained", backend=name, reason="hang") for name in (TRT, CUDA)]
    assert after == [before[0] + 1, before[1]]
    assert b.links[TRT].runs == runs + 1


def test_while_a_trial_hangs_nobody_follows_it() -> None:
    b = Bench(TRT, CUDA, CPU)
    b.demote()
    b.now += REPROBE_SECONDS
    runs = b.links[TRT].runs
    inside: list[str] = []

    def meanwhile() -> None:
        b.chain.hang(hangs=True)
        b.now += 2 * REPROBE_SECONDS
        inside.append(b.infer())

    b.links[TRT].meanwhile = meanwhile
    b.infer()
    assert (inside, b.links[TRT].runs) == ([CUDA], runs + 1)


def test_a_run_in_the_event_loop_never_goes_to_a_device() -> None:
    """Not as a trial, not when a better link has come a moment ago, not on a failure."""
    b = Bench(CUDA, CPU)
    b.demote()
    b.chain.loop_thread = threading.get_ident()
    waits = [b.chain.on_device]
    b.now += REPROBE_SECONDS
    waits.append(b.chain.on_device)
    assert waits == [False, True], "the next run is for a thread, which tries the better link"
    runs = b.links[CUDA].runs
    assert b.infer() == CPU
    newer = Link(CUDA)
    b.chain.adopt(newer)
    assert b.infer() == CPU
    b.links[CPU].error = RuntimeError("x")
    with pytest.raises(RuntimeError):
        b.infer()
    assert (b.links[CUDA].runs, newer.runs) == (runs, 0)
    b.chain.loop_thread = None
    assert b.infer() == CUDA


def test_when_a_run_hangs_a_link_that_opens_slowly_keeps_nobody_waiting() -> None:
    b = Bench(CUDA, CPU)
    open_it, go_on = b.open, threading.Event()

    def slowly(artifact: Path, spec: ModelSpec, backend: BackendSpec) -> Backend:
        assert go_on.wait(10)
        return open_it(artifact, spec, backend)

    b.chain._open = slowly
    b.chain.hang(hangs=True)
    assert (b.chain.active.name, b.infer()) == (CUDA, CUDA)
    go_on.set()
    end = time.monotonic() + 10
    while b.chain.active.name != CPU and time.monotonic() < end:
        time.sleep(0.01)
    assert b.infer() == CPU


def test_a_chain_that_is_closed_opens_no_link_and_counts_none_as_active() -> None:
    b = Bench(CUDA, CPU)
    b.chain.close()
    b.chain.hang(hangs=True)
    time.sleep(0.05)
    assert [metric("backend_active", model="chained", backend=name) for name in (CUDA, CPU)] == [0, 0]
