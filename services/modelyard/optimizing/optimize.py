"""From a version to its faster variant, or to the reason why there is none.

    source, checked -> variant -> quality of both -> speed of both, in turn -> gate -> table -> publish

Everything happens in a temporary folder; only a variant that passes the gate becomes a version, whole or not at all.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from modelyard.backends.base import Backend, BackendUnavailable
from modelyard.backends.onnxruntime import OnnxRuntimeBackend
from modelyard.errors import ConfigurationError
from modelyard.manifest import publish
from modelyard.optimizing import graph, int8, quality, report, speed
from modelyard.optimizing.gate import Check, Quality, Speed, judge, refusal
from modelyard.optimizing.graph import Method
from modelyard.optimizing.progress import Steps
from modelyard.optimizing.source import Source, check_calibration, find_source, new_version
from modelyard.spec import BackendName, BackendSpec, Precision
from modelyard.tensors import Array, Tensor

CALIBRATION_BATCH = 32
WIDE = 130


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for, checked as far as it can be without the model."""

    name: str
    precision: Literal["int8", "fp16"]
    method: Method | None
    """None: by the graph's operators."""
    source_version: str
    """Empty: the one that is served."""
    version: str | None
    """None: the next number."""
    speedup: float
    batch_sizes: list[int]
    rounds: int
    backend: BackendName
    reduce_range: bool | None
    """None: where this processor needs it."""


def optimize(options: Options, repository: Path, out: Console, steps: Steps) -> None:
    """Raises ConfigurationError for what is refused, after the table where there is one."""
    source = find_source(repository, options.name, options.source_version)
    version = new_version(source, options.version)
    sizes = [size for size in options.batch_sizes if size <= source.largest]
    if not sizes:
        raise ConfigurationError(
            f"--batch-sizes are above the {source.largest} rows that '{options.name}' takes at once"
        )
    parent = _open(source, source.artifact, "fp32", options.backend)
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder) / source.manifest.artifact
        how = _make(source, artifact, options, steps)
        out.print(f"{options.name} version {source.manifest.version} -> {options.precision}, {how}", highlight=False)
        variant = _open(source, artifact, options.precision, options.backend)
        measured = _quality(source, parent, variant, steps)
        speeds = _speeds(source, parent, variant, sizes, options.rounds, steps)
        steps.close()
        checks = judge(source.quality, measured, speeds, options.speedup)
        bytes_ = (_bytes(source.artifact), artifact.stat().st_size)
        _show(source, options, measured, speeds, bytes_, checks, out)
        if why := refusal(checks):
            raise ConfigurationError(f"no version is published: {why}")
        _publish(source, version, artifact, variant, options, report.comparison(measured, speeds, bytes_), measured)
    out.print(f"published {options.name} version {version} ({options.precision}), made from {source.manifest.version}")
    out.print(f"look at it, then serve it: modelyard diff {options.name} {source.manifest.version} {version}; ", end="")
    out.print(f"modelyard promote {options.name} {version}")


def _make(source: Source, target: Path, options: Options, steps: Steps) -> str:
    """Write the variant's file; how it was made, in words."""
    if options.precision == "fp16":
        steps.begin("converting to FP16")
        graph.write_half(source.artifact, target)
        return "converted"
    suggested = graph.choose_method(graph.operators(source.artifact))
    method = options.method or suggested
    reduce_range = not int8.has_fast_int8() if options.reduce_range is None else options.reduce_range
    bits = "weights in 7 bits" if reduce_range else "weights in 8 bits"
    if method == "dynamic":
        steps.begin("quantizing")
        int8.quantize_dynamic(source.artifact, target, reduce_range=reduce_range)
        return f"dynamic, {bits}"
    check_calibration(source)
    steps.begin("calibrating and quantizing")
    rows = source.evaluation.calibration
    batch = min(CALIBRATION_BATCH, source.largest)
    int8.quantize_static(source.artifact, target, rows, rows=batch, reduce_range=reduce_range)
    return f"static, {bits}, ranges of {min(int8.CALIBRATION_ROWS, len(next(iter(rows.values()))))} calibration rows"


def _open(source: Source, artifact: Path, precision: Precision, backend: BackendName) -> Backend:
    try:
        return OnnxRuntimeBackend(artifact, source.spec, BackendSpec(name=backend, precision=precision))
    except BackendUnavailable as error:
        raise ConfigurationError(f"{backend} cannot run '{source.spec.name}' in {precision}: {error}") from None


def _quality(source: Source, parent: Backend, variant: Backend, steps: Steps) -> Quality:
    """In the largest batches and row by row, the worse of both: a dynamic range is one for all rows of a run."""
    measure, truth, name = source.quality.measure, source.evaluation.truth, source.quality.output
    sizes = sorted({1, min(source.largest, source.evaluation.rows)}, reverse=True)
    steps.begin("measuring quality", len(sizes) + 1)
    inputs = source.inputs(source.evaluation.inputs)
    reference = _run_all(parent, inputs, name, sizes[0])
    steps.advance()
    quality.check_fits(measure, reference, truth)
    agreements, qualities = [], []
    for size in sizes:
        output = _run_all(variant, inputs, name, size)
        agreements.append(quality.row_agreement(measure, output, reference))
        qualities.append(quality.quality(measure, output, truth))
        steps.advance()
    known = [value for value in qualities if value is not None]
    return Quality(
        rows=source.evaluation.rows,
        parent=quality.quality(measure, reference, truth),
        variant=min(known) if known else None,
        agreement=min(float(np.mean(rows)) for rows in agreements),
        least=min(float(np.min(rows)) for rows in agreements),
    )


def _run_all(backend: Backend, inputs: list[Array], output: str, size: int) -> Array:
    try:
        parts = [
            backend.infer([array[start : start + size] for array in inputs], [output])[0]
            for start in range(0, len(inputs[0]), size)
        ]
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"the {backend.precision} model fails on the evaluation rows: {text}") from error
    return np.concatenate(parts)


def _speeds(
    source: Source, parent: Backend, variant: Backend, sizes: list[int], rounds: int, steps: Steps
) -> list[Speed]:
    steps.begin("measuring speed", rounds * len(sizes))
    rows = {size: [_repeated(array, size) for array in source.inputs(source.evaluation.inputs)] for size in sizes}
    names = [tensor.name for tensor in source.spec.outputs]

    def run(backend: Backend) -> Callable[[int], object]:
        return lambda size: backend.infer(rows[size], names)

    # A run on the CPU is one thread's work: its processor time is not that of whatever else the machine does.
    clock = time.thread_time if parent.name == "onnxruntime-cpu" else time.perf_counter
    return speed.measure(run(parent), run(variant), sizes, rounds, steps.advance, clock)


def _repeated(array: Array, rows: int) -> Array:
    """So many rows, from the beginning again where there are fewer."""
    return np.ascontiguousarray(array[np.arange(rows) % len(array)])


def _show(
    source: Source,
    options: Options,
    measured: Quality,
    speeds: list[Speed],
    sizes: tuple[int, int],
    checks: list[Check],
    out: Console,
) -> None:
    labels = (f"version {source.manifest.version} ({source.manifest.precision})", options.precision)
    wide = Console(file=out.file, width=max(out.width, WIDE), force_terminal=out.is_terminal, highlight=False)
    wide.print(report.table(labels, source.quality, measured, speeds, sizes, checks))


def _publish(
    source: Source,
    version: str,
    artifact: Path,
    variant: Backend,
    options: Options,
    comparison: dict[str, float],
    measured: Quality,
) -> None:
    """The variant's golden outputs are its own: it is compared with itself wherever it is loaded."""
    manifest, golden = source.manifest, source.golden_inputs()
    outputs = variant.infer([tensor.array for tensor in golden], [tensor.name for tensor in source.spec.outputs])
    publish(
        source.model_dir,
        version,
        artifact,
        golden_inputs=golden,
        golden_outputs=[Tensor(t.name, t.datatype, a) for t, a in zip(source.spec.outputs, outputs, strict=True)],
        metrics=report.metrics(source.quality, measured),
        libraries=manifest.libraries | _libraries(),
        extra_files=[source.folder / name for name in _beside(source)],
        evaluation=source.evaluation,
        interface=manifest.interface,
        precision=options.precision,
        parent=manifest.version,
        comparison=comparison,
    )


def _beside(source: Source) -> list[str]:
    """Files of the version that its variant needs too: not the weights, which are in the variant's own file."""
    manifest = source.manifest
    judged_by = {manifest.golden, manifest.evaluation, manifest.reference}
    own = {manifest.artifact, *judged_by, *graph.external_files(source.artifact)}
    return [name for name in manifest.files if name not in own]


def _bytes(artifact: Path) -> int:
    """Of the artifact with its external weights."""
    return sum((artifact.parent / name).stat().st_size for name in {artifact.name, *graph.external_files(artifact)})


def _libraries() -> dict[str, str]:
    found = {"onnx": installed("onnx")}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found[name] = installed(name)
        except PackageNotFoundError:
            continue
    return found
