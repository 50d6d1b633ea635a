"""Parsing and building: what the real library answers, and what the file of faults can make of it."""

from __future__ import annotations

import threading
import time
from types import ModuleType
from typing import Any

import pytest
from onnx import TensorProto

from tests.unit.fakes.device import Device
from tests.unit.fakes.networks import Build, Log, model


def test_a_network_is_built_into_a_plan(trt: ModuleType) -> None:
    build = Build(trt)
    assert build.parsed
    assert [build.network.get_input(0).name, build.network.get_output(0).name] == ["x", "y"]
    assert build.network.get_input(0).shape == (-1, 3)
    assert build.network.get_input(0).dtype is trt.DataType.FLOAT
    plan = build.run()
    assert plan.nbytes == len(bytes(plan)) > 0
    with pytest.raises(TypeError, match="no len"):
        len(plan)
    assert not build.log.errors


@pytest.mark.parametrize(
    ("raw", "refuses", "code"),
    [
        (model(), "MatMul", "UNSUPPORTED_NODE"),
        (model("TreeEnsembleClassifier", "ai.onnx.ml"), "", "UNSUPPORTED_NODE"),
        (model(elements=TensorProto.DOUBLE), "", "UNSUPPORTED_GRAPH"),
        (b"no model", "", "MODEL_DESERIALIZE_FAILED"),
    ],
)
def test_a_parser_that_refuses_says_what_and_why(
    trt: ModuleType, device: Device, raw: bytes, refuses: str, code: str
) -> None:
    device.set(parser_refuses=refuses)
    build = Build(trt, raw)
    assert not build.parsed
    assert build.parser.num_errors == 1
    error = build.parser.get_error(0)
    assert error.code().name == code
    if code == "UNSUPPORTED_NODE":
        assert error.node_name() == "the_node"
        assert error.node_operator() in str(error)
    assert str(error) in build.log.errors
    assert build.run() is None, "there is nothing to build"


def test_an_empty_path_is_no_model(trt: ModuleType, tmp_path: object) -> None:
    log = Log(trt)
    network = trt.Builder(log.logger).create_network(0)
    assert not trt.OnnxParser(network, log.logger).parse_from_file(f"{tmp_path}/none.onnx")
    assert "Failed to parse ONNX model from file" in log.errors


def test_dynamic_shapes_need_profiles_that_fit(trt: ModuleType) -> None:
    without = Build(trt, buckets=())
    assert without.run() is None
    assert "no optimization profile" in without.log.errors
    unfit = Build(trt, buckets=())
    profile = unfit.builder.create_optimization_profile()
    profile.set_shape("x", (1, 4), (1, 4), (1, 4))
    unfit.config.add_optimization_profile(profile)
    assert unfit.run() is None
    assert "static dimension mismatch" in unfit.log.errors
    with pytest.raises(ValueError, match="do not rise"):
        profile.set_shape("x", (2, 3), (1, 3), (1, 3))


def test_precision_flags_are_gone_or_refused(trt: ModuleType) -> None:
    """A strongly typed network takes its types from the model alone; TensorRT 11 knows no other."""
    if trt.__version__.startswith("11"):
        assert not hasattr(trt.BuilderFlag, "FP16")
        assert not hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
        assert int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) == 0
        assert Build(trt).builder.create_network(0).get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    else:
        build = Build(trt)
        build.config.set_flag(trt.BuilderFlag.FP16)
        assert build.run() is None
        assert "strongly typed" in build.log.errors


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"fail": "memory"}, "OutOfMemory"),
        ({"fail": "other"}, "Could not find any implementation"),
        ({"largest_workspace": 999}, "Cuda Runtime (out of memory)"),
    ],
)
def test_a_build_fails_by_the_file(trt: ModuleType, device: Device, fault: dict[str, Any], text: str) -> None:
    device.set(build=fault)
    build = Build(trt)
    build.config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1000)
    assert build.run() is None
    assert text in build.log.errors


def test_a_smaller_workspace_fits(trt: ModuleType, device: Device) -> None:
    device.set(build={"largest_workspace": 250})
    build = Build(trt)
    build.config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 250)
    assert build.run() is not None


def test_a_hanging_build_goes_on_when_the_file_says_so(trt: ModuleType, device: Device) -> None:
    device.set(build={"fail": "hang"})
    plans: list[Any] = []
    build = Build(trt)
    thread = threading.Thread(target=lambda: plans.append(build.run()), daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    device.set()
    thread.join(10)
    assert plans[0] is not None


def test_a_timing_cache_shortens_the_next_build(trt: ModuleType, device: Device) -> None:
    device.set(build={"seconds": 0.5})
    first = Build(trt)
    first.config.set_timing_cache(first.config.create_timing_cache(b""), ignore_mismatch=False)
    first.run()
    raw = bytes(first.config.get_timing_cache().serialize())
    second = Build(trt)
    assert second.config.set_timing_cache(second.config.create_timing_cache(raw), False)
    started = time.monotonic()
    assert second.run() is not None
    assert time.monotonic() - started < 0.4
    assert device.machine.counts["builds_with_timings"] == 1


def test_a_timing_cache_of_other_bytes_or_another_device_is_refused(trt: ModuleType, device: Device) -> None:
    build = Build(trt)
    assert build.config.create_timing_cache(b"rubbish") is None
    raw = bytes(build.config.create_timing_cache(b"").serialize())
    device.set(compute=[7, 5])
    other = build.config.create_timing_cache(raw)
    assert not build.config.set_timing_cache(other, False)
    assert build.config.set_timing_cache(other, True)


def test_progress_is_told_and_can_stop_the_build(trt: ModuleType) -> None:
    seen: list[tuple[str, ...]] = []

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]  # the fake as its users see it: a module
        def __init__(self, go_on: bool) -> None:
            trt.IProgressMonitor.__init__(self)
            self.go_on = go_on

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            seen.append(("start", phase_name, str(parent_phase), str(num_steps)))

        def step_complete(self, phase_name: str, step: int) -> bool:
            seen.append(("step", phase_name, str(step)))
            return self.go_on

        def phase_finish(self, phase_name: str) -> None:
            seen.append(("finish", phase_name))

    build = Build(trt)
    build.config.progress_monitor = Monitor(go_on=True)
    assert build.run() is not None
    assert [line[0] for line in seen] == ["start", "start", *["step"] * 10, "finish", "step", "finish"]
    stopped = Build(trt)
    stopped.config.progress_monitor = Monitor(go_on=False)
    assert stopped.run() is None
    assert "cancelled" in stopped.log.errors


def test_who_leaves_out_the_constructor_of_the_base_is_told(trt: ModuleType) -> None:
    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]  # the fake as its users see it: a module
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match="must be called when overriding"):
        Logger()
    with pytest.raises(TypeError, match="logger"):
        trt.Builder("no logger")


def test_a_logger_that_raises_stops_nothing(trt: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]  # the fake as its users see it: a module
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            raise ValueError(severity, msg)

    assert trt.Runtime(Logger()).deserialize_cuda_engine(b"rubbish") is None
    assert "Exception caught in log()" in capfd.readouterr().err


def test_shapes_are_no_tuples(trt: ModuleType) -> None:
    shape = trt.Dims((1, 2))
    assert (shape == (1, 2), shape == [1, 2], tuple(shape), len(shape), shape[-1]) == (True, True, (1, 2), 2, 2)
    assert not isinstance(shape, tuple)
    with pytest.raises(TypeError):
        assert shape == trt.Dims((1, 2))
    with pytest.raises(TypeError):
        hash(shape)
    assert trt.volume(shape) == 2
    with pytest.raises(TypeError):
        trt.nptype(trt.DataType.BF16)
