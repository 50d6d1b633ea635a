"""The way of one version to its engine: what each step's failure does to the model, and what is said of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest

from modelyard import metrics, upgrade
from modelyard.backends.base import BackendUnavailable, DeviceLost, OutOfMemory
from modelyard.backends.engine import builder, maker, shapes
from modelyard.backends.engine.cuda import CudaError
from modelyard.backends.engine.entry import About
from modelyard.backends.engine.maker import BuildFailed, ModelRefused
from modelyard.backends.engine.request import Device
from modelyard.backends.engine.store import EngineStore
from modelyard.backends.select import Chain
from modelyard.repository import LoadedVersion
from modelyard.settings import Settings
from modelyard.spec import BackendSpec, ModelSpec, ToleranceSpec
from modelyard.upgrade import Upgrade, wants_engine
from tests.unit.backends.engine.engines import AFFINE, backend_of, rows, spec_of, sums, tensor
from tests.unit.conftest import Gpu
from tests.unit.strategies import metric

DEVICE = Device("NVIDIA Fake 10", "9.0", "13.0", "13.0", "10.13.3.9", 2**34)
SPEC = spec_of().model_copy(
    update={"name": "upgraded", "backends": (BackendSpec(name="tensorrt"), BackendSpec(name="onnxruntime-cpu"))}
)

WIDE = spec_of((tensor("x", -1, -1),), (tensor("y", -1, 1),)).model_copy(
    update={"name": "upgraded", "backends": (backend_of(x=(32, 64, 128)), SPEC.backends[1])}
)


class Bench:
    """A loaded version on ONNX Runtime, a store, and a maker that builds in this process."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, model: onnx.ModelProto = AFFINE, spec: ModelSpec = SPEC
    ) -> None:
        self.folder = folder
        self.artifact = folder / "model.onnx"
        self.artifact.write_bytes(model.SerializeToString())
        self.inputs = [rows(3)]
        self.store = EngineStore(folder / "engines", 2**30)
        self.builds = 0
        self.failure: Exception | None = None
        self.trial: Exception | None = None
        self.chain = Chain(self.artifact, spec)
        monkeypatch.setattr(upgrade, "_probed", [])
        monkeypatch.setattr(maker, "probe", lambda **_: DEVICE)
        monkeypatch.setattr(maker, "ensure", self.ensure)
        monkeypatch.setattr(maker, "try_plan", self.try_plan)

    def upgrade(self, *, spec: Any = SPEC, golden: bool = True, **settings: str) -> Upgrade:
        loaded: Any = SimpleNamespace(
            spec=spec,
            chain=self.chain,
            manifest=SimpleNamespace(digest="d" * 64, golden="golden.json" if golden else None),
            version="1",
            artifact=self.artifact,
            inputs=self.inputs,
        )
        named = {f"MODELYARD_{name.upper()}": value for name, value in settings.items()}
        environment = {"MODELYARD_ENGINE_FOLDER": str(self.store.folder), **named}
        return Upgrade(cast("LoadedVersion", loaded), Settings.from_environment(environment))

    def ensure(
        self,
        store: EngineStore,
        artifact: Path,
        digest: str,
        spec: Any,
        backend: BackendSpec,
        device: Device,
        progress: Callable[[maker.Progress], None],
        _stop: threading.Event,
    ) -> bytes:
        if self.failure:
            raise self.failure
        self.builds += 1
        for step in (0, 4, 10):
            progress(maker.Progress("building", step, 10, float(step)))
        plan = builder.build(artifact, shapes.profiles(spec, backend), backend.precision, 2**20).plan
        key = maker.engine_key(digest, spec, backend, device)
        with store.lock(key):
            store.publish(key, plan, About(spec.name, "1", 0.1))
        return plan

    def try_plan(self, *_: object) -> None:
        if self.trial:
            raise self.trial

    @property
    def active(self) -> str:
        return self.chain.active.name

    def results(self) -> dict[str, float]:
        return {
            result: metric("engine_builds_total", model="upgraded", backend="tensorrt", result=result)
            for result in metrics.ENGINE_RESULTS
        }

    def moved(self, before: dict[str, float]) -> set[str]:
        return {result for result, count in self.results().items() if count > before[result]}


@pytest.fixture(name="wide")
def _wide(gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A model whose width may vary, from 32 to 128 for an engine."""
    made = Bench(tmp_path, monkeypatch, sums(), WIDE)
    yield made
    made.chain.close()


@pytest.fixture
def bench(gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path, monkeypatch)
    yield made
    made.chain.close()


def test_an_engine_is_built_checked_and_adopted(bench: Bench) -> None:
    right = bench.chain.infer([rows(3)], ["y"])[0]
    before, steps = bench.results(), metric("engine_build_steps_total", model="upgraded")
    assert bench.upgrade().run_once()
    assert bench.active == "tensorrt"
    assert bench.moved(before) == {"built"}
    assert metric("engine_build_steps_total", model="upgraded") == steps + 10
    assert metric("engine_building", model="upgraded") == 0
    np.testing.assert_allclose(bench.chain.infer([rows(3)], ["y"])[0], right, rtol=1e-5)


def test_an_engine_that_is_there_is_taken(bench: Bench) -> None:
    bench.upgrade().run_once()
    before = bench.results()
    bench.upgrade(engine_builds="false").run_once()
    assert bench.builds == 1
    assert bench.moved(before) == {"found"}


def test_a_plan_that_does_not_load_is_built_anew(bench: Bench) -> None:
    key = maker.engine_key("d" * 64, SPEC, SPEC.backends[0], DEVICE)
    with bench.store.lock(key):
        bench.store.publish(key, b"of another TensorRT", About("upgraded", "1", 0.1))
    bench.upgrade().run_once()
    assert (bench.active, bench.builds) == ("tensorrt", 1)
    assert bench.store.find(key) != b"of another TensorRT"


@pytest.mark.parametrize("kind", ["plan", "crash"])
def test_a_plan_that_faults_in_a_child_never_reaches_the_server(bench: Bench, kind: str) -> None:
    bench.upgrade().run_once()
    bench.trial = BuildFailed("CUDA error 700", kind)
    bench.upgrade().run_once()
    assert bench.builds == 2


def test_a_trial_without_memory_or_time_or_on_a_busy_device_says_nothing_against_the_plan(bench: Bench) -> None:
    bench.upgrade().run_once()
    for kind in ("memory", "timeout", "other"):
        bench.trial = BuildFailed(f"no {kind}", kind)
        assert not bench.upgrade().run_once(), "to be tried again"
    assert bench.builds == 1
    assert bench.store.entries()


def test_where_nothing_is_built_the_command_that_does_is_named(bench: Bench) -> None:
    assert bench.upgrade(engine_builds="false").run_once()
    assert "modelyard engines build upgraded --model-version 1" in bench.chain.degraded
    assert bench.builds == 0


def test_answers_that_differ_keep_the_old_backend(bench: Bench, gpu: Gpu) -> None:
    gpu.set(wrong_answers=True)
    before = bench.results()
    assert bench.upgrade().run_once()
    assert bench.active == "onnxruntime-cpu"
    assert bench.moved(before) == {"built", "differs"}
    assert "differs from ONNX Runtime's" in bench.chain.degraded


def test_the_tolerance_of_model_yaml_decides(bench: Bench, gpu: Gpu) -> None:
    gpu.set(wrong_answers=True)
    loose = BackendSpec(name="tensorrt", tolerance=ToleranceSpec(rtol=0, atol=1e9))
    bench.upgrade(spec=SPEC.model_copy(update={"backends": (loose, SPEC.backends[1])})).run_once()
    assert bench.active == "tensorrt"


@pytest.mark.parametrize(
    ("failure", "again", "result"),
    [
        (BuildFailed("no memory", "memory"), True, "failed"),
        (OutOfMemory("none"), True, "failed"),
        (CudaError(46, "the device is busy"), True, "failed"),
        (ModelRefused("operator Foo"), False, "refused"),
        (RuntimeError("a defect"), False, "failed"),
    ],
)
def test_a_failed_build_leaves_the_model_where_it_is(
    bench: Bench, failure: Exception, again: bool, result: str
) -> None:
    bench.failure, before = failure, bench.results()
    assert bench.upgrade().run_once() is not again
    assert bench.active == "onnxruntime-cpu"
    assert bench.moved(before) == {result}
    assert bench.chain.sufficient


def test_golden_inputs_that_no_engine_takes_are_said_before_one_is_built(wide: Bench) -> None:
    before = wide.results()
    assert wide.upgrade(spec=WIDE).run_once()
    assert wide.builds == 0
    assert wide.moved(before) == {"refused"}
    assert "'x' has shape [2] after the batch, `shapes` of model.yaml takes [32] to [128]" in wide.chain.degraded


def test_an_engine_is_compared_on_shapes_that_it_takes(wide: Bench) -> None:
    wide.inputs = [rows(3, 32)]
    wide.upgrade(spec=WIDE).run_once()
    assert wide.active == "tensorrt"


def test_without_golden_inputs_an_engine_is_compared_on_the_best_shapes(wide: Bench) -> None:
    wide.inputs = [rows(1, 1)]
    wide.upgrade(spec=WIDE, golden=False).run_once()
    assert (wide.active, wide.chain.degraded) == ("tensorrt", "")


def test_without_a_gpu_the_reason_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(**_: object) -> Device:
        raise BackendUnavailable("no NVIDIA driver")

    monkeypatch.setattr(maker, "probe", probe)
    assert bench.upgrade().run_once()
    assert bench.chain.degraded == "tensorrt: no NVIDIA driver"


def test_a_device_that_is_lost_meanwhile_is_the_end_of_the_chain(bench: Bench) -> None:
    bench.failure = DeviceLost("CUDA error 719")
    bench.upgrade().run_once()
    assert "719" in bench.chain.lost


def test_what_may_succeed_later_is_tried_again(bench: Bench) -> None:
    bench.failure = BuildFailed("no memory", "memory")
    worker = bench.upgrade(engine_retry_seconds="0.05")
    worker.start()
    worker.start()
    try:
        _wait(lambda: "no memory" in bench.chain.degraded)
        bench.failure = None
        _wait(lambda: bench.active == "tensorrt")
    finally:
        worker.stop()
    assert bench.builds == 1


def test_only_a_model_that_lists_tensorrt_wants_an_engine() -> None:
    assert wants_engine(SPEC)
    assert not wants_engine(SPEC.model_copy(update={"backends": SPEC.backends[1:]}))


def _wait(condition: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(500):
        if condition():
            return
        waited.wait(0.02)
    raise AssertionError("it did not happen")
