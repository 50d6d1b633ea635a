"""The checks of a version before anybody is served by it: each has a name, a state and a sentence.

    digest     every file is what was published
    interface  callers of the version beside it can call it unchanged
    golden     it loads on ONNX Runtime on the CPU and answers its golden inputs as when it was exported
    parity     the same row by row, in sevens and all at once; on a GPU too where ONNX Runtime has one
    latency    beside the other version; slower is a warning, or a failure beyond a limit that was given

"Beside" means: beside the version that is served now, or that was served before this one (versions.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.filesize import decimal

from modelyard.errors import ConfigurationError
from modelyard.golden import Golden, read_golden
from modelyard.lifecycle.compare import Latency, latency
from modelyard.lifecycle.interface import added, broken, interface_of
from modelyard.lifecycle.parity import backends, tolerance_for, worst_difference
from modelyard.lifecycle.versions import CPU, Model, beside, opened
from modelyard.manifest import Manifest, read_manifest
from modelyard.repository import LoadedVersion

CHECKS = ("digest", "interface", "golden", "parity", "latency")
SLOWER = 1.25
"""From here on a version is called slower than the other."""

State = Literal["ok", "warning", "failed", "left out"]


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    state: State
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    model: str
    version: str
    beside: str | None
    """The version that it was judged by."""
    findings: tuple[Finding, ...]
    latencies: tuple[Latency, ...] = ()

    @property
    def failed(self) -> list[str]:
        return [finding.name for finding in self.findings if finding.state == "failed"]


def check(model: Model, version: str, *, max_slowdown: float | None = None) -> Report:
    """Every check that can be made. `version` is one of the model's."""
    other, refused = beside(model, version)
    name = other.version if other else None
    try:
        manifest = read_manifest(model.path(version))
    except ConfigurationError as error:
        rest = [Finding(what, "left out", "its files are not what was published") for what in CHECKS[1:]]
        return Report(model.name, version, name, (Finding("digest", "failed", str(error)), *rest))
    findings = [_digest(manifest), _interface(model, manifest, other, refused)]
    try:
        with opened(model, version) as loaded:
            golden = read_golden(model.path(version) / manifest.golden) if manifest.golden else None
            findings += [_golden(loaded, golden), _parity(model, loaded, golden)]
            compared, figures = _latency(model, loaded, other, max_slowdown)
    except ConfigurationError as error:
        findings += [Finding("golden", "failed", str(error))]
        findings += [Finding(what, "left out", "it does not load") for what in CHECKS[3:]]
        return Report(model.name, version, name, tuple(findings))
    return Report(model.name, version, name, (*findings, compared), tuple(figures))


def _digest(manifest: Manifest) -> Finding:
    count, size = len(manifest.files), sum(entry.bytes for entry in manifest.files.values())
    files = f"{count} file{'s' * (count != 1)}, {decimal(size)}"
    return Finding("digest", "ok", f"{files}, sha256 {manifest.digest[:16]}...")


def _interface(model: Model, manifest: Manifest, other: Manifest | None, refused: Sequence[str]) -> Finding:
    why = "".join(f" ({text})" for text in refused)
    if other is None:
        return Finding("interface", "left out", f"no other version was served before it{why}")
    try:
        before, after = (interface_of(model.path(each.version), each, model.spec) for each in (other, manifest))
    except ConfigurationError as error:
        return Finding("interface", "left out", str(error))
    if faults := broken(before, after):
        return Finding("interface", "failed", f"breaks callers of version {other.version}: {'; '.join(faults)}{why}")
    new = added(before, after)
    more = f", and has the new output {', '.join(repr(name) for name in new)}" if new else ""
    return Finding("interface", "ok", f"called as version {other.version} is{more}{why}")


def _golden(loaded: LoadedVersion, golden: Golden | None) -> Finding:
    """Loading has compared them already."""
    if golden is None or not golden.outputs:
        return Finding("golden", "left out", f"the version has no golden rows; it loads on {CPU}")
    rows = len(loaded.inputs[0]) if loaded.spec.batched else 1
    return Finding("golden", "ok", f"{rows} golden row{'s' * (rows != 1)} answered as expected on {CPU}")


def _parity(model: Model, loaded: LoadedVersion, golden: Golden | None) -> Finding:
    if golden is None or not golden.outputs:
        return Finding("parity", "left out", "the version has no golden rows")
    texts = []
    try:
        for backend, spec in backends(model.spec, loaded):
            tolerance = tolerance_for(spec, loaded.manifest)
            worst = worst_difference(loaded, backend, golden.outputs, tolerance)
            texts.append(f"{backend.name} within {worst:.1e} (allowed {tolerance.atol:g}, or {tolerance.rtol:.1%})")
    except ConfigurationError as error:
        return Finding("parity", "failed", str(error))
    ways = "row by row, in sevens and all at once" if loaded.spec.batched else "in one run"
    return Finding("parity", "ok", f"{'; '.join(texts)}, {ways}")


def _latency(
    model: Model, loaded: LoadedVersion, other: Manifest | None, limit: float | None
) -> tuple[Finding, list[Latency]]:
    if other is None:
        return Finding("latency", "left out", "no other version was served before it"), []
    try:
        with opened(model, other.version) as reference:
            figures = latency(reference, loaded)
    except ConfigurationError as error:
        return Finding("latency", "left out", f"version {other.version} does not load: {error}"), []
    except Exception as error:  # made-up rows, where a version has no golden ones, may be refused by the model
        return Finding("latency", "left out", f"no run to measure: {' '.join(str(error).split())[:200]}"), []
    return Finding("latency", _judged(figures, limit), _latency_text(figures, other.version, limit)), figures


def _judged(figures: Sequence[Latency], limit: float | None) -> State:
    worst = max(figure.ratio for figure in figures)
    if limit is not None and worst > limit:
        return "failed"
    return "warning" if worst > SLOWER else "ok"


def _latency_text(figures: Sequence[Latency], other: str, limit: float | None) -> str:
    texts = [
        f"{_rows(figure.rows)}{figure.after:.3f} ms, version {other} {figure.before:.3f} ms ({figure.ratio:.2f} times)"
        for figure in figures
    ]
    return "; ".join(texts) + (f"; allowed {limit:g} times" if limit is not None else "")


def _rows(rows: int) -> str:
    return f"{rows} row{'s' * (rows != 1)} " if rows else ""
