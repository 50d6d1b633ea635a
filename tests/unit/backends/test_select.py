"""The chain of backends with links that do as they are told: nothing is lost, every step down is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from modelyard import metrics
from modelyard.backends.base import Backend, BackendUnavailable, DeviceLost, OutOfMemory
from modelyard.backends.engine.shapes import OutsideProfile
from modelyard.backends.select import BREAKER, PENDING, REPROBE_SECONDS, Chain, Pending
from modelyard.errors import ConfigurationError, InvalidInput
from modelyard.spec import BackendName, BackendSpec, ModelSpec, TensorSpec
from modelyard.tensors import Array
from tests.unit.strategies import metric

INPUT = [np.ones((1, 1), np.float32)]
TRT: BackendName = "tensorrt"
CUDA: BackendName = "onnxruntime-cuda"
CPU: BackendName = "onnxruntime-cpu"


@pytest.fixture(autouse=True)
def no_chains_of_other_tests() -> None:
    """The gauge counts every open chain, and the tests leave theirs open."""
    metrics.backend_active.clear()


class Link:
    def __init__(self, name: str) -> None:
        self.name = name
        self.precision = "fp32"
        self.error: Exception | None = None
        self.runs = 0
        self.meanwhile: Callable[[], object] | None = None
        """Something that happens in another thread while this link runs."""
        self.closed = False

    def infer(self, inputs: Sequence[Array], outputs: Sequence[str]) -> list[Array]:  # noqa: ARG002
        self.runs += 1
        if self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        if self.error:
            raise self.error
        return [np.array([self.name], np.object_)]

    def close(self) -> None:
        self.closed = True


class Bench:
    def __init__(
        self,
        *names: BackendName,
        missing: Sequence[str] = (),
        pending: Sequence[str] = (),
        minimum: BackendName | None = None,
    ) -> None:
        tensor = TensorSpec(name="x", datatype="FP32", shape=(-1, 1))
        self.links: dict[str, Link] = {name: Link(name) for name in names}
        self.missing = set(missing)
        self.pending = set(pending)
        self.now = 0.0
        spec = ModelSpec(
            name="chained",
            inputs=(tensor,),
            outputs=(tensor.model_copy(update={"name": "y"}),),
            backends=tuple(BackendSpec(name=name) for name in names),
            minimum_backend=minimum,
        )
        self.chain = Chain(Path("artifact"), spec, self.open, lambda: self.now)

    def open(self, _artifact: Path, _spec: ModelSpec, backend: BackendSpec) -> Backend:
        if backend.name in self.missing:
            raise BackendUnavailable(f"no {backend.name} here")
        if backend.name in self.pending:
            raise Pending(PENDING)
        return self.links[backend.name]

    def infer(self) -> str:
        return str(self.chain.infer(INPUT, ["y"])[0][0])

    def demote(self) -> None:
        """Fail the active link until the chain has moved on."""
        link = self.links[self.chain.active.name]
        link.error = RuntimeError("broken")
        for _ in range(BREAKER):
            self.infer()
        assert self.chain.active is not link


def test_the_first_link_that_can_be_opened_is_active_and_the_refusals_say_why() -> None:
    started = metric("backend_fallbacks_total", model="chained", **{"from": CUDA, "to": CPU, "reason": "unavailable"})
    b = Bench(CUDA, CPU, missing=[CUDA])
    assert b.infer() == CPU
    assert b.chain.refusals == {CUDA: f"no {CUDA} here"}
    now = metric("backend_fallbacks_total", model="chained", **{"from": CUDA, "to": CPU, "reason": "unavailable"})
    assert now == started + 1
    assert metric("backend_active", model="chained", backend=CPU) == 1


def test_no_link_at_all_is_an_error_that_names_every_refusal() -> None:
    with pytest.raises(ConfigurationError, match=f"(?s){TRT}.*{CPU}"):
        Bench(TRT, CPU, missing=[TRT, CPU])


def test_a_failure_falls_back_at_once_and_nothing_is_lost() -> None:
    b = Bench(CUDA, CPU)
    b.links[CUDA].error = RuntimeError("device lost")
    before = metric("backend_fallbacks_total", model="chained", **{"from": CUDA, "to": CPU, "reason": "runtime"})
    assert b.infer() == CPU
    assert b.chain.active.name == CUDA
    after = metric("backend_fallbacks_total", model="chained", **{"from": CUDA, "to": CPU, "reason": "runtime"})
    assert after == before + 1


def test_after_failures_in_a_row_the_chain_moves_on_and_leaves_the_broken_link_alone() -> None:
    b = Bench(CUDA, CPU)
    b.demote()
    runs = b.links[CUDA].runs
    assert runs == BREAKER
    assert b.infer() == CPU
    assert b.links[CUDA].runs == runs
    assert metric("backend_active", model="chained", backend=CUDA) == 0
    assert metric("backend_active", model="chained", backend=CPU) == 1


def test_a_success_between_failures_starts_the_count_again() -> None:
    b = Bench(CUDA, CPU)
    for _ in range(BREAKER):
        b.links[CUDA].error = RuntimeError("now and then")
        for _ in range(BREAKER - 1):
            b.infer()
        b.links[CUDA].error = None
        b.infer()
    assert b.chain.active.name == CUDA


def test_the_better_link_is_tried_again_in_time_and_taken_back_when_it_works() -> None:
    b = Bench(CUDA, CPU)
    b.demote()
    b.now += REPROBE_SECONDS - 1
    b.links[CUDA].error = None
    assert b.infer() == CPU
    b.now += 1
    assert b.infer() == CUDA
    assert b.chain.active.name == CUDA
    assert metric("backend_active", model="chained", backend=CPU) == 0


def test_a_probe_that_fails_costs_nobody_an_answer_and_waits_for_the_next_time() -> None:
    b = Bench(CUDA, CPU)
    b.demote()
    b.now += REPROBE_SECONDS
    runs = b.links[CUDA].runs
    assert [b.infer() for _ in range(10)] == [CPU] * 10
    assert b.links[CUDA].runs == runs + 1
    assert b.chain.active.name == CPU


def test_with_an_unavailable_first_link_the_second_is_still_tried_again() -> None:
    b = Bench(TRT, CUDA, CPU, missing=[TRT])
    b.demote()
    assert b.chain.active.name == CPU
    b.links[CUDA].error = None
    b.now += REPROBE_SECONDS
    b.infer()
    b.now += REPROBE_SECONDS
    b.infer()
    assert b.chain.active.name == CUDA


def test_a_run_that_began_on_the_lesser_link_does_not_undo_the_return_of_the_better() -> None:
    b = Bench(CUDA, CPU)
    b.demote()
    b.links[CUDA].error = None

    def probe() -> None:
        b.now += REPROBE_SECONDS
        assert b.infer() == CUDA

    b.links[CPU].meanwhile = probe
    assert b.infer() == CPU
    assert b.chain.active.name == CUDA


def test_a_dead_first_link_does_not_hide_that_the_second_is_well_again() -> None:
    b = Bench(TRT, CUDA, CPU)
    b.demote()
    b.demote()
    b.links[CUDA].error = None
    for _ in range(2):
        b.now += REPROBE_SECONDS
        b.infer()
    assert b.chain.active.name == CUDA


def test_an_input_that_fails_everywhere_demotes_nobody_and_raises_the_active_links_error() -> None:
    b = Bench(CUDA, CPU)
    b.links[CUDA].error = RuntimeError("of cuda")
    b.links[CPU].error = RuntimeError("of cpu")
    for _ in range(3 * BREAKER):
        with pytest.raises(RuntimeError, match="of cuda"):
            b.infer()
    assert b.chain.active.name == CUDA


def test_a_link_that_refuses_the_input_is_not_asked_about_on_the_next() -> None:
    b = Bench(CUDA, CPU)
    b.links[CUDA].error = InvalidInput("no UTF-8")
    with pytest.raises(InvalidInput):
        b.infer()
    assert b.links[CPU].runs == 0


def test_the_last_link_raises_what_went_wrong() -> None:
    b = Bench(CPU)
    b.links[CPU].error = RuntimeError("bad row")
    with pytest.raises(RuntimeError, match="bad row"):
        b.infer()


@pytest.mark.parametrize(("minimum", "sufficient"), [(None, True), (CUDA, False), (CPU, True)])
def test_under_its_minimum_backend_a_model_is_not_sufficient(minimum: BackendName | None, sufficient: bool) -> None:
    b = Bench(CUDA, CPU, minimum=minimum)
    assert b.chain.sufficient
    b.demote()
    assert b.chain.sufficient is sufficient


def test_closing_closes_every_open_link() -> None:
    b = Bench(CUDA, CPU)
    b.demote()
    b.chain.close()
    assert b.links[CUDA].closed
    assert b.links[CPU].closed
    assert metric("backend_active", model="chained", backend=CPU) == 0


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
