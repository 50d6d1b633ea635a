"""ONNX to a TensorRT plan. It runs in a child process: it takes minutes and much memory, and it may crash.

    artifact -> precision.prepare -> OnnxParser -> network, one optimization profile per bucket -> plan, timing cache

Networks are strongly typed, as they always are from TensorRT 11 on: the ONNX model says every datatype. The timing
cache holds what each kernel took on this GPU: with it a second build takes seconds.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.backends.base import OutOfMemory
from modelyard.backends.engine import library
from modelyard.backends.engine.precision import UnsupportedModel, prepare
from modelyard.backends.engine.shapes import InputProfile, Profile
from modelyard.spec import Precision
from modelyard.tensors import Shape

__all__ = ["Built", "Progress", "UnsupportedModel", "build", "combine", "flags"]

Progress = Callable[[str, int, int], None]
"""phase, step, steps"""

_OF_PRECISION = {"fp32": "no-tf32", "fp16": "half-1", "int8": "qdq"}


@dataclass(frozen=True, slots=True)
class Built:
    plan: bytes
    timing_cache: bytes
    seconds: float


def flags(precision: Precision) -> str:
    """What this file does to a model beyond precision and profiles: it belongs to an engine's key."""
    return f"strongly-typed,{_OF_PRECISION[precision]}"


def build(
    onnx_path: Path,
    profiles: Sequence[Profile],
    precision: Precision,
    workspace_bytes: int,
    timing_cache: bytes | None = None,
    progress: Progress | None = None,
) -> Built:
    """Raises UnsupportedModel, OutOfMemory, RuntimeError. There has to be a device: without one TensorRT crashes."""
    began = time.monotonic()
    trt = library.load()
    journal = library.Journal()
    heard = library.logger(trt, journal)
    library.load_plugins(trt, heard)
    builder = trt.Builder(heard)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, heard)
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:  # kept until the weights have been read
        if not parser.parse_from_file(str(prepare(onnx_path, precision, Path(folder)))):
            raise _refusal(parser, journal)
        _check_inputs(network, profiles)
        config = _configuration(trt, builder, precision, workspace_bytes)
        _add_profiles(builder, config, network, profiles)
        _use_timing_cache(config, timing_cache)
        monitor = _monitor(trt, progress)
        if monitor is not None:
            config.progress_monitor = monitor
        journal.take(all_threads=True)  # that a timing cache was left out is no reason for what follows
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise journal.fault("build the engine", all_threads=True)
    return Built(bytes(plan), bytes(config.get_timing_cache().serialize()), time.monotonic() - began)


def combine(first: bytes, second: bytes) -> bytes:
    """One timing cache of two; of the same GPU and TensorRT. Raises RuntimeError when they do not fit."""
    trt = library.load()
    journal = library.Journal()
    config = trt.Builder(library.logger(trt, journal)).create_builder_config()
    one, other = config.create_timing_cache(first), config.create_timing_cache(second)
    if one is None or other is None or not one.combine(other, False):
        raise journal.fault("combine two timing caches")
    return bytes(one.serialize())


def _network_flags(trt: Any) -> int:
    known = trt.NetworkDefinitionCreationFlag
    for name in ("STRONGLY_TYPED", "EXPLICIT_BATCH"):  # the second one before TensorRT 10
        if hasattr(known, name):
            return 1 << int(getattr(known, name))
    return 0


def _configuration(trt: Any, builder: Any, precision: Precision, workspace_bytes: int) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    if precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)  # 10 bits of mantissa are not what fp32 promises
    if not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):  # before TensorRT 10
        if precision != "fp32":
            config.set_flag(trt.BuilderFlag.FP16 if precision == "fp16" else trt.BuilderFlag.INT8)
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)  # lanes have the same profiles
    return config


def _add_profiles(builder: Any, config: Any, network: Any, profiles: Sequence[Profile]) -> None:
    """Inputs whose shape the artifact fixes have no place in a profile; where all are fixed there is none to add."""
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    free = {tensor.name for tensor in tensors if -1 in tuple(tensor.shape)}
    for profile in profiles if free else ():
        shapes = builder.create_optimization_profile()
        for port in profile.inputs:
            if port.name in free:
                shapes.set_shape(port.name, port.min, port.opt, port.max)
        if config.add_optimization_profile(shapes) < 0:
            raise RuntimeError(f"TensorRT does not take the profile of {profile.rows} rows")


def _use_timing_cache(config: Any, known: bytes | None) -> None:
    """A cache that TensorRT does not take (of another version, damaged) is left out."""
    cache = config.create_timing_cache(known) if known else None
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _check_inputs(network: Any, profiles: Sequence[Profile]) -> None:
    """TensorRT's own words for these faults do not name the cause."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.is_shape_tensor:
            raise UnsupportedModel(f"input '{tensor.name}' decides on shapes, which lanes do not support")
        wanted = [port for profile in profiles for port in profile.inputs if port.name == tensor.name]
        if not wanted:
            raise UnsupportedModel(f"the model has an input '{tensor.name}', which model.yaml does not list")
        shape = tuple(int(size) for size in tensor.shape)
        for port in wanted:
            if not _fits(shape, port):
                raise UnsupportedModel(
                    f"input '{tensor.name}' is {list(shape)} in the artifact, the engine is to take "
                    f"{list(port.min)} to {list(port.max)}"
                )


def _fits(shape: Shape, port: InputProfile) -> bool:
    """Is every dimension free in the artifact (-1), or exactly what the profile wants?"""
    return len(shape) == len(port.max) and all(
        size in {-1, low} and (size == -1 or low == high)
        for size, low, high in zip(shape, port.min, port.max, strict=True)
    )


def _refusal(parser: Any, journal: library.Journal) -> Exception:
    """Why the parser refused: the operator and node when it names them."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if not errors:
        return journal.fault("parse the model")
    if any(error.code().name == "MEM_ALLOC_FAILED" for error in errors):
        return OutOfMemory(f"TensorRT could not parse the model: {errors[0].desc()[:300]}")
    texts = []
    for error in errors:
        operator = error.node_operator() if hasattr(error, "node_operator") else ""  # from TensorRT 10 on
        where = f"operator {operator} (node '{error.node_name()}'): " if operator else ""
        texts.append(f"{where}{error.code().name}: {error.desc()[:300]}")
    return UnsupportedModel(next((text for text in texts if text.startswith("operator")), texts[0]))


def _monitor(trt: Any, progress: Progress | None) -> Any:
    """An IProgressMonitor that tells `progress`; None without one, or before TensorRT 10."""
    if progress is None or not hasattr(trt, "IProgressMonitor"):
        return None
    tell = progress

    class _Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base is of an untyped library
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # the binding asks for this very form
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002  # the base's form
            self._steps[phase_name] = num_steps
            tell(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            tell(phase_name, step + 1, self._steps.get(phase_name, 0))
            return True  # False would end the build

        def phase_finish(self, phase_name: str) -> None:
            tell(phase_name, self._steps.get(phase_name, 0), self._steps.pop(phase_name, 0))

    return _Monitor()
