"""The chain of backends with links that do as they are told: nothing is lost, every step down is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from modelyard.backends.base import Backend, BackendUnavailable
from modelyard.backends.select import BREAKER, PENDING, REPROBE_SECONDS, Chain, Pending
from modelyard.errors import ConfigurationError, InvalidInput
from modelyard.spec import BackendName, BackendSpec, ModelSpec, TensorSpec
from modelyard.tensors import Array
from tests.unit.strategies import metric

INPUT = [np.ones((1, 1), np.float32)]
TRT: BackendName = "tensorrt"
CUDA: BackendName = "onnxruntime-cuda"
CPU: BackendName = "onnxruntime-cpu"


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
