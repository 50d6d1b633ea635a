"""From an ONNX file to a plan, on a TensorRT that does as it is told; both levels of its interface."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.base import BackendUnavailable, OutOfMemory
from modelyard.backends.engine import builder, library, shapes
from modelyard.backends.engine.builder import Built, UnsupportedModel
from modelyard.spec import ModelSpec, Precision
from tests.integration import onnx_models
from tests.unit.backends.engine.engines import AFFINE, backend_of, spec_of, tensor
from tests.unit.conftest import Gpu

BOTH = pytest.mark.parametrize("level", ["10", "11"])


def built(
    folder: Path, model: Any = AFFINE, precision: Precision = "fp32", spec: ModelSpec | None = None, **options: Any
) -> Built:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    profiles = shapes.profiles(spec or spec_of(top=2), backend_of())
    return builder.build(path, profiles, precision, 2**20, **options)


@BOTH
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_plan_is_built_for_every_profile(tmp_path: Path, gpu: Gpu, precision: Precision) -> None:
    result = built(tmp_path, precision=precision)
    engine = gpu.trt.Runtime(gpu.trt.Logger()).deserialize_cuda_engine(result.plan)
    assert engine.num_optimization_profiles == 2
    assert tuple(engine.get_tensor_profile_shape("x", 1)[0]) == (2, 2)
    assert engine.get_tensor_dtype("y").name == "FLOAT"
    assert result.seconds > 0


@BOTH
def test_tf32_is_left_out_of_fp32_alone(tmp_path: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    flags: list[bool] = []
    real = gpu.trt.Builder.build_serialized_network

    def spy(self: Any, network: Any, config: Any) -> Any:
        flags.append(config.get_flag(gpu.trt.BuilderFlag.TF32))
        return real(self, network, config)

    monkeypatch.setattr(gpu.trt.Builder, "build_serialized_network", spy)
    built(tmp_path, precision="fp32")
    built(tmp_path, precision="fp16")
    assert flags == [False, True]
    assert len({builder.flags(precision) for precision in ("fp32", "fp16", "int8")}) == 3


def test_the_timing_cache_shortens_a_second_build(tmp_path: Path, gpu: Gpu) -> None:
    first = built(tmp_path)
    built(tmp_path, timing_cache=first.timing_cache)
    assert gpu.count("builds_with_timings") == 1


def test_a_timing_cache_that_does_not_fit_is_left_out(tmp_path: Path, gpu: Gpu) -> None:
    assert built(tmp_path, timing_cache=b"rubbish").plan
    assert gpu.count("builds_with_timings") == 0


def test_two_timing_caches_become_one(tmp_path: Path, gpu: Gpu) -> None:
    one = built(tmp_path).timing_cache
    reciprocal = spec_of((tensor("x", -1, 4),), (tensor("y", -1, 4),), top=2)
    other = built(tmp_path, onnx_models.reciprocal(), spec=reciprocal).timing_cache
    both = builder.combine(one, other)
    built(tmp_path, timing_cache=both)
    built(tmp_path, onnx_models.reciprocal(), spec=reciprocal, timing_cache=both)
    assert gpu.count("builds_with_timings") == 2
    with pytest.raises(RuntimeError, match="timing caches"):
        builder.combine(one, b"rubbish")


def test_progress_is_told_by_phase(tmp_path: Path, gpu: Gpu) -> None:
    told: list[tuple[str, int, int]] = []
    built(tmp_path, progress=lambda *step: told.append(step))
    phases = {phase for phase, _, _ in told}
    assert len(phases) == 2
    for phase in phases:
        steps = [(step, of) for name, step, of in told if name == phase]
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1] > 0


def test_an_operator_that_the_parser_refuses_is_named(tmp_path: Path, gpu: Gpu) -> None:
    gpu.set(parser_refuses="MatMul")
    with pytest.raises(UnsupportedModel, match=r"operator MatMul \(node '.*'\): UNSUPPORTED_NODE: .*Plugin not found"):
        built(tmp_path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, gpu: Gpu) -> None:
    with pytest.raises(UnsupportedModel, match="MODEL_DESERIALIZE_FAILED"):
        built(tmp_path, b"no model")


def test_want_of_memory_is_known_from_other_failures(tmp_path: Path, gpu: Gpu) -> None:
    gpu.set(build={"fail": "memory"})
    with pytest.raises(OutOfMemory, match="build the engine"):
        built(tmp_path)
    gpu.set(build={"fail": "other"})
    with pytest.raises(RuntimeError, match="Could not find any implementation"):
        built(tmp_path)


def test_a_smaller_workspace_can_be_what_helps(tmp_path: Path, gpu: Gpu) -> None:
    gpu.set(build={"largest_workspace": 2**20})
    assert built(tmp_path).plan
    gpu.set(build={"largest_workspace": 2**19})
    with pytest.raises(OutOfMemory):
        built(tmp_path)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ((tensor("x", -1, 3),), r"input 'x' is \[-1, 2\] in the artifact"),
        ((tensor("z", -1, 2),), "an input 'x', which model.yaml does not list"),
    ],
)
def test_a_model_that_is_not_what_the_profiles_say_is_refused(
    tmp_path: Path, gpu: Gpu, inputs: tuple[Any, ...], text: str
) -> None:
    with pytest.raises(UnsupportedModel, match=text):
        built(tmp_path, spec=spec_of(inputs))


def test_a_batch_that_is_fixed_in_the_artifact_is_refused(tmp_path: Path, gpu: Gpu) -> None:
    model = onnx_models.identity("FP32", (4, 2))
    spec = spec_of(outputs=(tensor("y", -1, 2),), buckets=(2, 4))
    with pytest.raises(UnsupportedModel, match=r"\[4, 2\] in the artifact, the engine is to take \[2, 2\]"):
        built(tmp_path, model, spec=spec)


def test_an_input_of_fixed_shape_needs_no_profile(tmp_path: Path, gpu: Gpu) -> None:
    spec = spec_of((tensor("x", 4, 2),), (tensor("y", 4, 2),), top=0)
    result = built(tmp_path, onnx_models.identity("FP32", (4, 2)), spec=spec)
    assert gpu.trt.Runtime(gpu.trt.Logger()).deserialize_cuda_engine(result.plan).num_optimization_profiles == 1


def test_a_model_that_is_not_quantized_is_no_int8_model(tmp_path: Path, gpu: Gpu) -> None:
    with pytest.raises(UnsupportedModel, match="QuantizeLinear"):
        built(tmp_path, precision="int8")


def test_without_tensorrt_the_backend_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendUnavailable, match="TensorRT is not installed"):
        library.load()


def test_errors_are_kept_by_thread(gpu: Gpu) -> None:
    journal = library.Journal()
    heard = library.logger(gpu.trt, journal)
    heard.log(gpu.trt.Logger.ERROR, "first")
    heard.log(gpu.trt.Logger.WARNING, "no error")
    heard.log(gpu.trt.Logger.VERBOSE, "chatter")
    thread = threading.Thread(target=heard.log, args=(gpu.trt.Logger.INTERNAL_ERROR, "of another thread"))
    thread.start()
    thread.join()
    assert journal.take() == "first"
    assert journal.take() == ""
    assert journal.take(all_threads=True) == "of another thread"
    assert "no reason" in str(journal.fault("do it"))
